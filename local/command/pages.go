package command

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"selvedge.dev/sdk/client"
)

// pages reads all pages of a list: the items are in the answer's member field.
func pages[T any](ctx context.Context, c *client.Client, path, field string, query url.Values) ([]T, error) {
	query = maps.Clone(query)
	if query == nil {
		query = url.Values{}
	}
	all := []T{}
	for {
		var page map[string]json.RawMessage
		if err := c.Call(ctx, http.MethodGet, path, query, nil, &page); err != nil {
			return nil, err
		}
		var items []T
		var next string
		for name, into := range map[string]any{field: &items, "nextPageToken": &next} {
			if page[name] == nil {
				continue
			}
			if err := json.Unmarshal(page[name], into); err != nil {
				return nil, fmt.Errorf("answer of %s: %s: %w", path, name, err)
			}
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		query.Set("pageToken", next)
	}
}
