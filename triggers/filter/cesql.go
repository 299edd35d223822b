package filter

import (
	"fmt"
	"strings"

	"github.com/antlr/antlr4/runtime/Go/antlr"
	sql "github.com/cloudevents/sdk-go/sql/v2"
	"github.com/cloudevents/sdk-go/sql/v2/gen"
	"github.com/cloudevents/sdk-go/sql/v2/parser"

	"selvedge.dev/sdk/event"
)

// maxExpression bounds the bytes of an expression: room for a list of some four
// hundred event types. The parser's time is quadratic in the depth of brackets
// around a mistake, half a second for 8 KiB of nothing but brackets.
const maxExpression = 16 << 10

// cesql passes an event for which a CloudEvents SQL expression is true.
type cesql struct {
	expr sql.Expression
	// text is the expression as it was written.
	text string
}

// newCESQL is the constructor of the cesql dialect.
func newCESQL(path, text string) (Filter, error) {
	if len(text) > maxExpression {
		return nil, refuse(path, "the expression has %d bytes, more than %d", len(text), maxExpression)
	}
	if err := lex(text); err != nil {
		return nil, refuse(path, "%w", err)
	}
	expr, err := parseExpression(text)
	if err != nil {
		return nil, refuse(path, "%w", err)
	}
	return cesql{expr, text}, nil
}

// Filter fails an event when the expression is false, cannot be evaluated (an
// attribute is missing, a cast impossible, a function unknown) or is not a
// boolean.
func (f cesql) Filter(e *event.Event) (v Verdict) {
	// The library slices out of bounds on a negative length of SUBSTRING, and
	// reads through an event without a context.
	defer func() {
		if recover() != nil {
			v = Fail
		}
	}()
	result, err := f.expr.Evaluate(*e)
	if isTrue, ok := result.(bool); err == nil && ok && isTrue {
		return Pass
	}
	return Fail
}

// parseExpression parses text. The library panics on many syntax errors, where
// it asks a missing exception for its message.
func parseExpression(text string) (expr sql.Expression, err error) {
	defer func() {
		if r := recover(); r != nil {
			expr, err = nil, fmt.Errorf("syntax error in %q", text)
		}
	}()
	expr, err = parser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return expr, nil
}

// lex refuses a text with characters that CESQL does not know. The library's
// parser skips them after a line on standard error, so that "$type = 'a'" is
// taken for "type = 'a'": an expression other than the one that was written. It
// also refuses brackets left open, over which that parser takes seconds.
func lex(text string) error {
	runes := []rune(text)
	lexer := gen.NewCESQLParserLexer(parser.NewCaseChangingStream(antlr.NewInputStream(text), true))
	lexer.RemoveErrorListeners()
	next, open := 0, 0
	for _, token := range lexer.GetAllTokens() {
		if err := blank(runes[next:token.GetStart()]); err != nil {
			return err
		}
		next = token.GetStop() + 1
		switch token.GetTokenType() {
		case gen.CESQLParserLexerLR_BRACKET:
			open++
		case gen.CESQLParserLexerRR_BRACKET:
			open--
		}
	}
	if err := blank(runes[next:]); err != nil {
		return err
	}
	if open != 0 {
		return fmt.Errorf("brackets do not match in %q", text)
	}
	return nil
}

// blank refuses anything but blanks between tokens.
func blank(between []rune) error {
	if rest := strings.Trim(string(between), " \t\r\n"); rest != "" {
		return fmt.Errorf("%q is not part of the language", rest)
	}
	return nil
}
