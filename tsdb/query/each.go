package query

import "context"

// eachPoints is how many points Each holds in memory: 32 MB. Every so many it
// reads the store anew.
const eachPoints = 2_000_000

// Each calls f with all that a request asks for, in the order of List, whatever
// its page size. A series may come in several parts, of which the newest points
// are the first. Points that come in meanwhile may be among them or not. An
// error of f ends it and is returned.
func (e *Engine) Each(ctx context.Context, req Request, f func(Result) error) error {
	for {
		page, err := e.list(ctx, req, eachPoints)
		if err != nil {
			return err
		}
		for _, r := range page.Results {
			if err := f(r); err != nil {
				return err
			}
		}
		if req.PageToken = page.Next; req.PageToken == "" {
			return nil
		}
	}
}
