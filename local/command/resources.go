package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// get is `selvedge get`.
func (a *app) get() *cobra.Command {
	return a.completing(&cobra.Command{
		Use: "get NAME…", Short: "Show resources", Args: atLeast("NAME"),
		Example: "  selvedge get devices/pump-1\n  selvedge get projects/default/blueprints/pump -o yaml",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.remote(c.Context())
			if err != nil {
				return err
			}
			var all []protoreflect.Message
			var of *schema.Resource
			for _, arg := range args {
				t, err := a.target(r, arg)
				if err != nil {
					return err
				}
				if t.name == "" {
					return usageError{fmt.Errorf("%q is a type: get wants names; `selvedge list %s` lists them", arg, arg)}
				}
				m, err := r.call(c.Context(), t.resource, resourcev1.Method_GET, map[string]any{"name": string(t.name)})
				if err != nil {
					return err
				}
				all, of = append(all, m), t.resource
			}
			return a.printResources(of, all, len(args) == 1)
		},
	})
}

// listOptions are the flags of lists.
type listOptions struct {
	filter, order, phrase, parent string
	limit                         int
}

// list is `selvedge list`.
func (a *app) list() *cobra.Command {
	var o listOptions
	c := a.completing(&cobra.Command{
		Use: "list TYPE", Short: "List the resources of a type", Args: exactly("TYPE"),
		Long: `List the resources of a type in the project of --project, or below --parent,
where "-" stands for any: --parent projects/- is every project.

--filter is in the language of google.aip.dev/160, with LIKE, IN, IS NULL and
CONTAINS besides; --search finds words.`,
		Example: `  selvedge list devices
  selvedge list devices --filter 'metadata.labels.site = "north"' --order-by 'metadata.create_time desc' --limit 20
  selvedge list devices --parent projects/- --search 'pump nor'`,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.remote(c.Context())
			if err != nil {
				return err
			}
			t, err := a.target(r, args[0])
			if err != nil {
				return err
			}
			if t.name != "" {
				return usageError{fmt.Errorf("%q is a name: list wants a type, such as %s", args[0], t.resource.Plural)}
			}
			all, err := r.list(c.Context(), t, o)
			if err != nil {
				return err
			}
			return a.printResources(t.resource, all, false)
		},
	})
	f := c.Flags()
	f.StringVar(&o.filter, "filter", "", "which of them")
	f.StringVar(&o.order, "order-by", "", `fields to sort by, "a, b desc"; by name otherwise`)
	f.StringVar(&o.phrase, "search", "", "words that they have; the last may be the beginning of one")
	f.StringVar(&o.parent, "parent", "", "whose, instead of those of --project")
	f.IntVar(&o.limit, "limit", 0, "how many at most; 0 is all")
	return c
}

// listPage is how many resources are asked for at once.
const listPage = 500

// list reads all pages of a list.
func (r *remote) list(ctx context.Context, t target, o listOptions) ([]protoreflect.Message, error) {
	verb := resourcev1.Method_LIST
	if o.phrase != "" {
		verb = resourcev1.Method_SEARCH
	}
	fields := map[string]any{
		"parent": t.parent, "filter": o.filter, "order_by": o.order, "phrase": o.phrase,
		"view": resourcev1.View_DETAIL.Number(),
	}
	if o.parent != "" {
		fields["parent"] = o.parent
	}
	var all []protoreflect.Message
	for {
		size := listPage
		if o.limit > 0 {
			size = min(size, o.limit-len(all))
		}
		fields["page_size"] = int32(size)
		page, err := r.call(ctx, t.resource, verb, fields)
		if err != nil {
			return nil, err
		}
		all = append(all, items(page, t.resource)...)
		token := text(page, "next_page_token")
		if token == "" || o.limit > 0 && len(all) >= o.limit {
			return all, nil
		}
		fields["page_token"] = token
	}
}

// watch is `selvedge watch`.
func (a *app) watch() *cobra.Command {
	var filter, parent string
	c := a.completing(&cobra.Command{
		Use: "watch TYPE|NAME", Short: "Show resources now and every change of them from then on", Args: exactly("TYPE|NAME"),
		Long: `Show the resources of a type, or one by its name, as they are now and every
change of them from then on, until Ctrl-C. A line begins with + for a resource
that is there, and with - for one that went, or that the filter no longer lets
in. With -o json every line is an object. A lost connection is taken up where it
broke.`,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.remote(c.Context())
			if err != nil {
				return err
			}
			t, err := a.target(r, args[0])
			if err != nil {
				return err
			}
			if parent != "" {
				t.parent = parent
			}
			err = a.follow(c.Context(), r, t, filter)
			if c.Context().Err() != nil {
				return nil // Ctrl-C is how it ends
			}
			return err
		},
	})
	c.Flags().StringVar(&filter, "filter", "", "which of them")
	c.Flags().StringVar(&parent, "parent", "", "whose, instead of those of --project")
	return c
}

// again is how long a watch waits before it connects again.
const again = 2 * time.Second

// follow prints changes, over connections that come and go.
func (a *app) follow(ctx context.Context, r *remote, t target, filter string) error {
	m, err := r.method(t.resource, resourcev1.Method_WATCH, t.name == "")
	if err != nil {
		return err
	}
	token := ""
	for {
		fields := map[string]any{"parent": t.parent, "filter": filter, "type": resourcev1.WatchType_STATELESS.Number(), "resume_token": token}
		if t.name != "" {
			fields = map[string]any{"name": string(t.name)}
		}
		err := r.rpc.Watch(ctx, m, request(m, fields), func(x proto.Message) error {
			msg := x.ProtoReflect()
			if next := text(msg, "resume_token"); next != "" {
				token = next
			}
			return a.printChanges(t.resource, msg)
		})
		if err != nil && fault.KindOf(err) != fault.Unavailable {
			return err
		}
		a.complain(fmt.Errorf("the watch ended, connecting again: %w", errors.Join(err, ctx.Err())))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(again):
		}
	}
}

// printChanges prints the changes of one message of a watch.
func (a *app) printChanges(x *schema.Resource, m protoreflect.Message) error {
	var failed error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() != nil && !f.IsList() && f.Message().FullName() == x.Message.Descriptor().FullName():
			failed = a.printChange(x, v.Message(), "")
		case f.Name() == "removed" && f.Kind() == protoreflect.StringKind:
			failed = a.printChange(x, nil, v.String())
		case f.Name() == "removed" && !f.IsList():
			failed = a.printChange(x, nil, text(v.Message(), "name"))
		case f.Name() == "set":
			failed = a.printChanges(x, v.Message())
		case f.IsList() && f.Message() != nil:
			for i := 0; i < v.List().Len() && failed == nil; i++ {
				failed = a.printChanges(x, v.List().Get(i).Message())
			}
		}
		return failed == nil
	})
	return failed
}

// printChange prints one resource that is there, or the name of one that went.
func (a *app) printChange(x *schema.Resource, m protoreflect.Message, removed string) error {
	var line string
	switch {
	case m == nil && a.output == "json":
		line = fmt.Sprintf(`{"removed":%q}`, removed)
	case m == nil:
		line = "- " + removed
	case a.output == "json":
		text, err := marshal(m)
		if err != nil {
			return err
		}
		line = string(text)
	default:
		cells := []string{"+", m.Get(x.Name).String()}
		for _, f := range columns(x) {
			if s := cell(m, f); s != "" {
				cells = append(cells, string(f.Name())+"="+s)
			}
		}
		line = strings.Join(cells, " ")
	}
	_, err := io.WriteString(a.out, line+"\n")
	return err
}

// marshal is a resource in proto's JSON.
func marshal(m protoreflect.Message) ([]byte, error) { return protojson.Marshal(m.Interface()) }
