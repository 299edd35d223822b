// Package render fills in the templates of notifications: those of Go's
// text/template and html/template, bounded, since whoever writes a template is
// not the platform.
//
// A template has loops over what there is, conditions, comparisons, index, len,
// and the functions upper, lower, join, fixed and default. It has no definitions
// of other templates, no loops over numbers, loops at most two deep, and none of
// the functions that make much of little. The text it makes is at most
// [MaxText]. Everything here is safe for concurrent use.
package render

import (
	"bytes"
	"errors"
	"fmt"
	html "html/template"
	"io"
	"strconv"
	"strings"
	text "text/template"
	"text/template/parse"

	"selvedge.dev/sdk/fault"
)

// The bounds.
const (
	// MaxTemplate and MaxText bound a template and what it makes, in bytes.
	MaxTemplate = 64 << 10
	MaxText     = 1 << 20
	// MaxValues bounds the values that templates are filled in with, each item
	// of a list and each field of an object counted: two loops over all of them
	// are a second.
	MaxValues = 5_000
	// maxDepth is how deep loops are nested.
	maxDepth = 2
)

// Values are what templates are filled in with.
type Values struct {
	// Data is the data of the event, the last one of a digest.
	Data any
	// Items are the data of all events, in their order.
	Items []any
	// Count is how many there are.
	Count int
}

// New are the values of events, whose data is JSON already read. What is too
// much is an Invalid fault.
func New(items ...any) (Values, error) {
	v := Values{Items: items, Count: len(items)}
	if len(items) > 0 {
		v.Data = items[len(items)-1]
	}
	if n := count(items, 0); n > MaxValues {
		return Values{}, refuse("TOO_MANY_VALUES", fmt.Errorf("more than %d values", MaxValues))
	}
	return v, nil
}

// count is how many values there are, as far as it matters.
func count(v any, n int) int {
	switch x := v.(type) {
	case []any:
		for _, item := range x {
			if n = count(item, n); n > MaxValues {
				return n
			}
		}
	case map[string]any:
		for _, item := range x {
			if n = count(item, n); n > MaxValues {
				return n
			}
		}
	}
	return n + 1
}

// functions are those of templates, beside the ones that are kept.
func functions() map[string]any {
	return map[string]any{
		"upper": strings.ToUpper,
		"lower": strings.ToLower,
		"join": func(items []any, between string) string {
			parts := make([]string, len(items))
			for i, item := range items {
				parts[i] = fmt.Sprint(item)
			}
			return strings.Join(parts, between)
		},
		"fixed": func(digits int, number float64) (string, error) {
			if digits < 0 || digits > 15 {
				return "", errors.New("fixed takes 0 to 15 digits")
			}
			return strconv.FormatFloat(number, 'f', digits, 64), nil
		},
		"default": func(otherwise, value any) any {
			if truth, _ := text.IsTrue(value); truth {
				return value
			}
			return otherwise
		},
	}
}

// kept are the functions of the language that are kept.
const kept = " and or not eq ne lt le gt ge len index upper lower join fixed default "

// Text fills in a template of plain text.
func Text(template string, v Values) (string, error) {
	t, err := text.New("").Option("missingkey=zero").Funcs(functions()).Parse(template)
	if err == nil {
		err = check(template, t.Tree)
	}
	if err != nil {
		return "", refuse("INVALID_TEMPLATE", err)
	}
	return run(t.Execute, v)
}

// HTML fills in a template of HTML: values are escaped by where they are.
func HTML(template string, v Values) (string, error) {
	t, err := html.New("").Option("missingkey=zero").Funcs(functions()).Parse(template)
	if err == nil {
		err = check(template, t.Tree)
	}
	if err != nil {
		return "", refuse("INVALID_TEMPLATE", err)
	}
	return run(t.Execute, v)
}

// run executes a template. A value that is not there is shown as nothing.
func run(execute func(io.Writer, any) error, v Values) (string, error) {
	var out bounded
	if err := execute(&out, v); err != nil {
		return "", refuse("TEMPLATE_FAILED", err)
	}
	return strings.ReplaceAll(out.String(), "<no value>", ""), nil
}

// bounded is a buffer that takes no more than MaxText.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxText {
		return 0, fmt.Errorf("the text is longer than %d bytes", MaxText)
	}
	return b.Buffer.Write(p)
}

// WriteString implements io.StringWriter.
func (b *bounded) WriteString(s string) (int, error) { return b.Write([]byte(s)) }

// refuse is the fault of a template.
func refuse(reason string, err error) error {
	return &fault.Error{Op: "render", Kind: fault.Invalid, Reason: reason, Field: "template", Err: err}
}

// check refuses what templates may not do.
func check(template string, t *parse.Tree) error {
	if len(template) > MaxTemplate {
		return fmt.Errorf("a template has at most %d bytes", MaxTemplate)
	}
	if t == nil || t.Root == nil {
		return nil
	}
	return walk(t.Root, 0)
}

// walk checks a node that is within so many loops.
func walk(n parse.Node, depth int) error {
	switch x := n.(type) {
	case *parse.ListNode:
		if x == nil {
			return nil
		}
		for _, item := range x.Nodes {
			if err := walk(item, depth); err != nil {
				return err
			}
		}
	case *parse.ActionNode:
		return walk(x.Pipe, depth)
	case *parse.IfNode:
		return branch(&x.BranchNode, depth)
	case *parse.WithNode:
		if !plain(x.Pipe) {
			return errors.New("with is about a field, and about nothing that is computed")
		}
		return branch(&x.BranchNode, depth)
	case *parse.RangeNode:
		if depth == maxDepth {
			return fmt.Errorf("loops are at most %d deep", maxDepth)
		}
		if !plain(x.Pipe) {
			return errors.New("a loop is over a field, and over nothing that is computed")
		}
		return branch(&x.BranchNode, depth+1)
	case *parse.PipeNode:
		return pipe(x)
	case *parse.TemplateNode:
		return errors.New("a template uses no other")
	}
	return nil
}

// plain reports whether a pipeline is a field, a variable or the dot: a value of
// the data, of whose numbers none is one that a loop counts to.
func plain(p *parse.PipeNode) bool {
	if len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return false
	}
	switch p.Cmds[0].Args[0].(type) {
	case *parse.FieldNode, *parse.VariableNode, *parse.DotNode:
		return true
	}
	return false
}

// branch checks the parts of a condition or a loop.
func branch(b *parse.BranchNode, depth int) error {
	if err := pipe(b.Pipe); err != nil {
		return err
	}
	if err := walk(b.List, depth); err != nil || b.ElseList == nil {
		return err
	}
	return walk(b.ElseList, depth)
}

// pipe checks the functions of a pipeline. A variable that is set to what is
// computed could be looped over.
func pipe(p *parse.PipeNode) error {
	if len(p.Decl) > 0 && !plain(p) {
		return errors.New("variables are set to fields, and to nothing that is computed")
	}
	for _, c := range p.Cmds {
		for _, arg := range c.Args {
			switch x := arg.(type) {
			case *parse.IdentifierNode:
				if !strings.Contains(kept, " "+x.Ident+" ") {
					return fmt.Errorf("the function %s is not to be had", x.Ident)
				}
			case *parse.PipeNode:
				if err := pipe(x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
