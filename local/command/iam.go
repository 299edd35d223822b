package command

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// explanation is the answer of ExplainAccess.
type explanation struct {
	Allowed     bool   `json:"allowed"`
	RoleBinding string `json:"roleBinding,omitempty"`
	Role        string `json:"role,omitempty"`
	Grant       int    `json:"grant,omitempty"`
	Member      string `json:"member,omitempty"`
	Scope       string `json:"scope,omitempty"`
	NearMisses  []struct {
		RoleBinding string   `json:"roleBinding"`
		Role        string   `json:"role"`
		Grant       int      `json:"grant,omitempty"`
		Failed      []string `json:"failed"`
	} `json:"nearMisses,omitempty"`
	Roles  []string `json:"roles,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
}

// iam is `selvedge iam`.
func (a *app) iam() *cobra.Command {
	return group("iam", "Who may do what, and why", a.iamExplain(), a.iamTest(), a.iamPermissions(), a.iamRotate())
}

// scope is a resource that a person means by an argument: of the project,
// unless it says "/", a whole name, or nothing at all.
func (a *app) scope(args []string, i int) string {
	switch {
	case i >= len(args):
		return "projects/" + a.project
	case args[i] == "/":
		return ""
	}
	return args[i]
}

// iamExplain is `selvedge iam explain`.
func (a *app) iamExplain() *cobra.Command {
	var member, address string
	c := &cobra.Command{
		Use:   "explain PERMISSION [RESOURCE]",
		Short: "Why somebody may do something, or what is missing",
		Long: `Why somebody may do something, or what is missing: the binding, the role and the
grant that allow it, or those that lack the least, with what they lack. RESOURCE
is a full name, the project without one, or / for the platform.`,
		Example: "  selvedge iam explain devices.devices.delete projects/p/devices/d --member user:ada@example.com",
		Args:    between("PERMISSION", "RESOURCE"),
		RunE: func(c *cobra.Command, args []string) error {
			in := map[string]any{"permission": args[0], "resource": a.scope(args, 1), "member": member, "address": address}
			var e explanation
			if err := a.client().Call(c.Context(), http.MethodPost, "/v1/access:explain", nil, in, &e); err != nil {
				return err
			}
			return a.print(e, func(w io.Writer) { e.table(w) })
		},
	}
	c.Flags().StringVar(&member, "member", "", "who, as role bindings name members; you by default")
	c.Flags().StringVar(&address, "from", "", "the address that the request comes from")
	return c
}

// table writes an explanation for people.
func (e *explanation) table(w io.Writer) {
	if e.Allowed {
		binding := e.RoleBinding
		if binding == "" {
			binding = "none is needed: it is what the caller is"
		}
		row(w, "allowed", "yes")
		row(w, "role binding", binding)
		row(w, "role", fmt.Sprintf("%s, grant %d", e.Role, e.Grant))
		row(w, "member", e.Member)
		row(w, "scope", orPlatform(e.Scope))
		return
	}
	row(w, "allowed", "no")
	for _, n := range e.NearMisses {
		row(w, "nearly", fmt.Sprintf("%s to %s, grant %d: fails %s", n.RoleBinding, n.Role, n.Grant, strings.Join(n.Failed, ", ")))
	}
	for _, r := range e.Roles {
		row(w, "would do", r)
	}
	for _, s := range e.Scopes {
		row(w, "bound in", orPlatform(s))
	}
}

// orPlatform is a scope for people.
func orPlatform(scope string) string {
	if scope == "" {
		return "the platform"
	}
	return scope
}

// iamTest is `selvedge iam test-permissions`.
func (a *app) iamTest() *cobra.Command {
	var resource string
	c := &cobra.Command{
		Use: "test-permissions PERMISSION…", Short: "Which of some permissions you have", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var on []string
			if resource != "" {
				on = []string{resource}
			}
			var out struct {
				Permissions []string `json:"permissions"`
			}
			in := map[string]any{"permissions": args, "resource": a.scope(on, 0)}
			if err := a.client().Call(c.Context(), http.MethodPost, "/v1/permissions:test", nil, in, &out); err != nil {
				return err
			}
			return a.print(out.Permissions, func(w io.Writer) {
				for _, p := range out.Permissions {
					row(w, p)
				}
			})
		},
	}
	c.Flags().StringVar(&resource, "resource", "", "on which resource, / for the platform; the project by default")
	return c
}

// iamPermissions is `selvedge iam permissions`.
func (a *app) iamPermissions() *cobra.Command {
	return &cobra.Command{
		Use: "permissions [RESOURCE]", Short: "Every permission that you have on a resource, or below it", Args: between("", "RESOURCE"),
		RunE: func(c *cobra.Command, args []string) error {
			var out struct {
				Member      string `json:"member"`
				Permissions []struct {
					Permission  string `json:"permission"`
					Conditional bool   `json:"conditional,omitempty"`
				} `json:"permissions"`
			}
			query := url.Values{"resource": {a.scope(args, 0)}}
			if err := a.client().Call(c.Context(), http.MethodGet, "/v1/permissions:mine", query, nil, &out); err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) {
				row(w, "PERMISSION", "ALWAYS")
				for _, p := range out.Permissions {
					row(w, p.Permission, !p.Conditional)
				}
			})
		},
	}
}

// iamRotate is `selvedge iam rotate-keys`.
func (a *app) iamRotate() *cobra.Command {
	return &cobra.Command{
		Use: "rotate-keys", Short: "Sign tokens with a new key from now on",
		Long: `Sign tokens with a new key from now on. It is published at once, so that whoever
checks tokens learns of it, and signs a minute later. Tokens of the former key are
good until they expire. Without this command there is a new key every 30 days.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			var out struct {
				KeyID    string    `json:"keyId"`
				SignTime time.Time `json:"signTime"`
			}
			if err := a.client().Call(c.Context(), http.MethodPost, "/v1/signingKeys:rotate", nil, map[string]any{}, &out); err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) {
				row(w, "key", out.KeyID)
				row(w, "signs from", out.SignTime.Format(time.RFC3339))
			})
		},
	}
}

// between wants an argument of one name, unless that is "", and may have one
// more of the other.
func between(must, may string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		least := 1
		if must == "" {
			least = 0
		}
		if len(args) < least {
			return usageError{fmt.Errorf("%s is missing; see `%s --help`", must, c.CommandPath())}
		}
		if len(args) > least+1 {
			return usageError{fmt.Errorf("there is something after %s; see `%s --help`", may, c.CommandPath())}
		}
		return nil
	}
}
