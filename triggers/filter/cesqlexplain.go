package filter

import (
	"fmt"
	"slices"

	"github.com/antlr/antlr4/runtime/Go/antlr"
	"github.com/cloudevents/sdk-go/sql/v2/gen"
	"github.com/cloudevents/sdk-go/sql/v2/parser"

	"selvedge.dev/sdk/event"
)

// The bounds of an explanation: each part is parsed anew, which for thousands of
// them would take minutes. A longer expression is explained as a whole, and of
// many parts the rest is left as it is written.
const (
	maxExplained = 2 << 10
	maxClauses   = 100
)

// explain takes the expression apart at its AND, OR, XOR and NOT, and says of
// each part what it is for this event. The verdict is that of the whole: the
// parts are evaluated by themselves, without the shortcuts of the operators.
func (f cesql) explain(e *event.Event) (x Explanation) {
	x = Explanation{Clause: f.text, Passed: f.Filter(e) == Pass}
	defer func() {
		// What the library's parser panics with leaves the whole unexplained.
		if recover() != nil {
			x = Explanation{Clause: f.text, Passed: f.Filter(e) == Pass, Why: f.outcome(e)}
		}
	}()
	if len(f.text) > maxExplained {
		x.Why = f.outcome(e)
		return x
	}
	lexer := gen.NewCESQLParserLexer(parser.NewCaseChangingStream(antlr.NewInputStream(f.text), true))
	lexer.RemoveErrorListeners()
	p := gen.NewCESQLParserParser(antlr.NewCommonTokenStream(lexer, antlr.TokenDefaultChannel))
	p.RemoveErrorListeners()
	whole, ok := p.Cesql().(*gen.CesqlContext)
	if !ok {
		x.Why = f.outcome(e)
		return x
	}
	part := (&clause{text: []rune(f.text), e: e, left: maxClauses}).explain(whole.Expression())
	part.Clause, part.Passed = x.Clause, x.Passed
	return part
}

// clause explains the parts of an expression's text for an event.
type clause struct {
	text []rune
	e    *event.Event
	// left is how many more parts are explained.
	left int
}

// explain explains the expression that tree is.
func (c *clause) explain(tree antlr.ParserRuleContext) Explanation {
	text := string(c.text[tree.GetStart().GetStart() : tree.GetStop().GetStop()+1])
	var operands []gen.IExpressionContext
	negates := false
	switch t := tree.(type) {
	case *gen.SubExpressionContext:
		return c.explain(t.Expression())
	case *gen.BinaryLogicExpressionContext:
		operands = t.AllExpression()
	case *gen.UnaryLogicExpressionContext:
		operands, negates = []gen.IExpressionContext{t.Expression()}, true
	}
	c.left--
	whole, err := parseExpression(text)
	if err != nil {
		return Explanation{Clause: text, Why: err.Error()}
	}
	f := cesql{expr: whole}
	x := Explanation{Clause: text, Passed: f.Filter(c.e) == Pass, negates: negates}
	if len(operands) == 0 {
		x.Why = f.outcome(c.e)
		names := identifiers(tree)
		for _, name := range names {
			have, ok := attribute(c.e, name)
			if len(names) == 1 {
				x.Attribute = name
				if ok {
					x.Have = &have
				}
			}
			if ok {
				x.Why += fmt.Sprintf("; %s is %q", name, have)
			} else {
				x.Why += fmt.Sprintf("; the event has no attribute %s", name)
			}
		}
		return x
	}
	for _, o := range operands {
		if c.left <= 0 {
			x.Why = f.outcome(c.e)
			break
		}
		x.Parts = append(x.Parts, c.explain(o))
	}
	return x
}

// outcome is what the expression evaluates to, for people.
func (f cesql) outcome(e *event.Event) (text string) {
	defer func() {
		if recover() != nil {
			text = "cannot be evaluated"
		}
	}()
	result, err := f.expr.Evaluate(*e)
	switch result.(type) {
	case bool:
		if err == nil {
			return fmt.Sprint(result)
		}
	default:
		if err == nil {
			return fmt.Sprintf("%v, which is not a boolean", result)
		}
	}
	return fmt.Sprintf("cannot be evaluated: %v", err)
}

// identifiers are the attributes that a part of an expression names, each once.
func identifiers(tree antlr.Tree) []string {
	var names []string
	if id, ok := tree.(*gen.IdentifierContext); ok {
		return []string{id.GetText()}
	}
	for _, child := range tree.GetChildren() {
		for _, name := range identifiers(child) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
