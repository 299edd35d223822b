package command

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// The bounds of what the shell is offered: it waits for the answer, and nobody
// reads a list of thousands.
const (
	completeTimeout = 2 * time.Second
	completeNames   = 100
)

// completing lets the shell complete the arguments of a command: types, and
// after TYPE/ the ids of the resources of the project.
func (a *app) completing(c *cobra.Command) *cobra.Command {
	c.ValidArgsFunction = func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), completeTimeout)
		defer cancel()
		if err := a.settle(c); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		words, err := a.complete(ctx, begun)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return c
}

// complete are the arguments that begin like that.
func (a *app) complete(ctx context.Context, begun string) ([]string, error) {
	r, err := a.remote(ctx)
	if err != nil {
		return nil, err
	}
	kind, id, named := strings.Cut(begun, "/")
	if !named {
		var words []string
		for _, name := range typeNames(r.types) {
			if strings.HasPrefix(name, begun) {
				words = append(words, name)
			}
		}
		return words, nil
	}
	x, ok := typeOf(r.types, kind)
	if !ok {
		return nil, nil
	}
	parent, err := a.parent(x)
	if err != nil {
		return nil, err
	}
	page, err := r.call(ctx, x, resourcev1.Method_LIST, map[string]any{
		"parent": parent, "page_size": int32(completeNames), "view": resourcev1.View_NAME.Number(),
		"filter": `name = "` + strings.TrimPrefix(parent+"/"+x.Patterns[0].Collection()+"/"+id, "/") + `*"`,
	})
	if err != nil {
		return nil, err
	}
	var words []string
	for _, m := range items(page, x) {
		words = append(words, kind+"/"+string(x.NameOf(m.Interface()).ID()))
	}
	return words, nil
}
