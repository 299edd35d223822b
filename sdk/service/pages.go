package service

import "selvedge.dev/sdk/store"

// Pages makes and reads the tokens of pages for others than a Service, such as
// the stateful watches of sdk/watch.
type Pages struct{ tokens tokens }

// NewPages makes Pages whose tokens a key seals, as [Options].TokenKey does.
func NewPages(key []byte) (Pages, error) {
	t, err := newTokens(append([]byte("pages\x00"), key...))
	return Pages{t}, err
}

// Seal is the token of a position, "" for none, that only the same parts open.
func (p Pages) Seal(at *store.Position, reverse bool, parts ...string) string {
	return p.tokens.seal(at, reverse, binding(parts...))
}

// Open is the position of a token, nil for "". A token of other parts is an
// Invalid fault.
func (p Pages) Open(token string, parts ...string) (at *store.Position, reverse bool, err error) {
	return p.tokens.open(token, binding(parts...))
}
