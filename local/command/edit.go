package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// setUsage is the help of --set.
const setUsage = `PATH=VALUE of a field, such as metadata.labels.site=north; VALUE is text or, for lists and messages, YAML; may be given often`

// create is `selvedge create`.
func (a *app) create() *cobra.Command {
	var set []string
	var dry bool
	c := a.completing(&cobra.Command{
		Use: "create NAME", Short: "Create a resource", Args: exactly("NAME"),
		Example: `  selvedge create devices/pump-1 --set displayName='Pump 1' --set metadata.labels.site=north
  selvedge create devices/pump-2 --set 'aliases=[{network: boat-network, key: esn, value: "5551212"}]'`,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.remote(c.Context())
			if err != nil {
				return err
			}
			t, err := a.target(r, args[0])
			if err != nil {
				return err
			}
			if t.name == "" {
				return usageError{fmt.Errorf("create wants a name: %s/ID", t.resource.Plural)}
			}
			object := t.resource.New()
			if _, err := assign(t.resource, object, set); err != nil {
				return err
			}
			made, err := r.create(c, t, object, dry)
			if err != nil {
				return err
			}
			return a.printResources(t.resource, []protoreflect.Message{made}, true)
		},
	})
	c.Flags().StringArrayVar(&set, "set", nil, setUsage)
	c.Flags().BoolVar(&dry, "dry-run", false, "check it and show what would be, but do nothing")
	return c
}

// create makes a resource.
func (r *remote) create(c *cobra.Command, t target, object proto.Message, dry bool) (protoreflect.Message, error) {
	return r.call(c.Context(), t.resource, resourcev1.Method_CREATE, map[string]any{
		"parent": t.parent, snake(t.resource.Singular) + "_id": t.name.ID(), snake(t.resource.Singular): object, "validate_only": dry,
	})
}

// update is `selvedge update`.
func (a *app) update() *cobra.Command {
	var set, unset []string
	var version string
	var dry bool
	c := a.completing(&cobra.Command{
		Use: "update NAME", Short: "Change fields of a resource", Args: exactly("NAME"),
		Example: "  selvedge update devices/pump-1 --set route=reason --unset metadata.labels.site",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.remote(c.Context())
			if err != nil {
				return err
			}
			t, err := a.target(r, args[0])
			if err != nil {
				return err
			}
			if t.name == "" {
				return usageError{fmt.Errorf("update wants a name: %s/ID", t.resource.Plural)}
			}
			object := t.resource.New()
			mask, err := assign(t.resource, object, set)
			if err != nil {
				return err
			}
			for _, path := range unset {
				p, err := fieldpath.Parse(t.resource.Message.Descriptor(), path)
				if err != nil {
					return usageError{fmt.Errorf("--unset: %w", errors.Unwrap(err))}
				}
				mask = append(mask, p.String())
			}
			if len(mask) == 0 {
				return usageError{errors.New("nothing to change: use --set and --unset")}
			}
			if version != "" {
				if _, err := assign(t.resource, object, []string{"metadata.resource_version=" + version}); err != nil {
					return err
				}
			}
			t.resource.SetName(object, t.name)
			made, err := r.call(c.Context(), t.resource, resourcev1.Method_UPDATE, map[string]any{
				snake(t.resource.Singular): object, "update_mask": mask, "validate_only": dry,
			})
			if err != nil {
				return err
			}
			return a.printResources(t.resource, []protoreflect.Message{made}, true)
		},
	})
	f := c.Flags()
	f.StringArrayVar(&set, "set", nil, setUsage)
	f.StringArrayVar(&unset, "unset", nil, "path of a field to clear; may be given often")
	f.StringVar(&version, "version", "", "the metadata.resourceVersion that it must have")
	f.BoolVar(&dry, "dry-run", false, "check it and show what would be, but do nothing")
	return c
}

// assign sets fields of an object by PATH=VALUE, and returns their paths.
func assign(x *schema.Resource, object proto.Message, set []string) ([]string, error) {
	var mask []string
	for _, s := range set {
		path, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--set %q: want PATH=VALUE", s)}
		}
		p, err := fieldpath.Parse(x.Message.Descriptor(), path)
		if err != nil {
			return nil, usageError{fmt.Errorf("--set: %w", errors.Unwrap(err))}
		}
		if err := assignOne(object, p, value); err != nil {
			return nil, usageError{fmt.Errorf("--set %s: %w", path, err)}
		}
		mask = append(mask, p.String())
	}
	return mask, nil
}

// assignOne sets the field at a path to what the text means: the text itself
// where the field takes that, or else YAML.
func assignOne(object proto.Message, path fieldpath.Path, value string) error {
	steps := path.Steps()
	try := func(leaf any) error {
		for i := len(steps) - 1; i >= 0; i-- {
			switch s := steps[i]; {
			case s.All:
				return errors.New("one field at a time, not every item of a list or map")
			case s.Field != nil:
				leaf = map[string]any{s.Field.JSONName(): leaf}
			default:
				leaf = map[string]any{s.Key.String(): leaf}
			}
		}
		doc, err := json.Marshal(leaf)
		if err != nil {
			return err
		}
		one := object.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal(doc, one); err != nil {
			return err
		}
		proto.Merge(object, one)
		return nil
	}
	if try(value) == nil {
		return nil
	}
	var leaf any
	if err := yaml.Unmarshal([]byte(value), &leaf); err != nil {
		return fmt.Errorf("%q is neither a value of the field nor YAML: %w", value, err)
	}
	return try(leaf)
}

// remove is `selvedge delete`.
func (a *app) remove() *cobra.Command {
	var plan, missing bool
	c := a.completing(&cobra.Command{
		Use: "delete NAME…", Short: "Delete resources, or show what that would do", Args: atLeast("NAME"),
		Long: `Delete resources. What refers to a deleted resource blocks the deletion, is
changed, or is deleted with it, as its type says: --plan shows the whole
consequence and does nothing.`,
		Example: "  selvedge delete blueprints/pump --plan\n  selvedge delete devices/pump-1 devices/pump-2",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.remote(c.Context())
			if err != nil {
				return err
			}
			for _, arg := range args {
				t, err := a.target(r, arg)
				if err != nil {
					return err
				}
				if t.name == "" {
					return usageError{fmt.Errorf("%q is a type: delete wants names", arg)}
				}
				done, err := r.call(c.Context(), t.resource, resourcev1.Method_DELETE, map[string]any{
					"name": string(t.name), "allow_missing": missing, "validate_only": plan,
				})
				if err != nil {
					return err
				}
				if err := a.printPlan(done); err != nil {
					return err
				}
			}
			return nil
		},
	})
	c.Flags().BoolVar(&plan, "plan", false, "show what would happen, and do nothing")
	c.Flags().BoolVar(&missing, "allow-missing", false, "it is no error that there is no such resource")
	return c
}

// printPlan prints the consequences of a deletion as a tree: each below its
// cause.
func (a *app) printPlan(m protoreflect.Message) error {
	plan := new(resourcev1.DeletionPlan)
	wire, err := proto.Marshal(m.Interface())
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(wire, plan); err != nil {
		return err
	}
	if a.output != "table" {
		text, err := marshal(plan.ProtoReflect())
		if err != nil {
			return err
		}
		if a.output == "yaml" {
			if text, err = yaml.JSONToYAML(text); err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		}
		return a.print(json.RawMessage(text), nil)
	}
	return a.print(nil, func(w io.Writer) {
		row(w, "NAME", "EFFECT", "WHEN", "BY")
		below := map[string][]*resourcev1.Consequence{}
		for _, c := range plan.GetConsequences() {
			below[c.GetCause()] = append(below[c.GetCause()], c)
		}
		var print func(cause, indent string)
		print = func(cause, indent string) {
			for _, c := range below[cause] {
				row(w, indent+c.GetName(), strings.ToLower(c.GetEffect().String()), when[c.GetTiming()], c.GetPath())
				if c.GetName() != cause && c.GetEffect() == resourcev1.Consequence_DELETED {
					print(c.GetName(), indent+"  ")
				}
			}
			delete(below, cause)
		}
		print("", "")
		if plan.GetBlocked() {
			row(w, "\nBlocked: nothing is deleted.")
		}
	})
}

// when are the words of a consequence's timing.
var when = map[resourcev1.Consequence_Timing]string{
	resourcev1.Consequence_AT_ONCE: "at once", resourcev1.Consequence_SOON: "soon after", resourcev1.Consequence_COLLECTED: "when it is collected",
}

// snake is a lower camel case name in snake case.
func snake(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}
