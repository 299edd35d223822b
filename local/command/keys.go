package command

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// key is an API key as the platform shows it; Key itself only when it is made.
type key struct {
	Name        string     `json:"name"`
	Principal   string     `json:"principal"`
	DisplayName string     `json:"displayName,omitempty"`
	CreateTime  time.Time  `json:"createTime"`
	ExpireTime  *time.Time `json:"expireTime,omitempty"`
	Key         string     `json:"key,omitempty"`
}

// id is what revoke takes.
func (k key) id() string { return strings.TrimPrefix(k.Name, "keys/") }

// keys is `selvedge keys`.
func (a *app) keys() *cobra.Command {
	var name string
	var ttl time.Duration
	create := &cobra.Command{
		Use:   "create PRINCIPAL",
		Short: "Make an API key and print it once",
		Long: `Make an API key and print it once. PRINCIPAL is

  projects/P/devices/D   a device, which may post events as itself and nothing else
  projects/P             a project: everything in it but the keys of others
  admin                  everything`,
		Example: "  selvedge keys create projects/default/devices/pump-1",
		Args:    exactly("PRINCIPAL"),
		RunE: func(c *cobra.Command, args []string) error {
			in := map[string]any{"principal": args[0]}
			if name != "" {
				in["displayName"] = name
			}
			if ttl > 0 {
				in["expireTime"] = time.Now().Add(ttl).UTC()
			}
			var made key
			if err := a.client().Call(c.Context(), http.MethodPost, "/v1/keys", nil, in, &made); err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) {
				row(w, "id", made.id())
				row(w, "principal", made.Principal)
				row(w, "key", made.Key)
			})
		},
	}
	create.Flags().StringVar(&name, "name", "", "what the key is for")
	create.Flags().DurationVar(&ttl, "ttl", 0, "time until the key expires, such as 720h; never by default")
	list := &cobra.Command{
		Use: "list", Short: "List the keys; their secrets are not kept", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := pages[key](c.Context(), a.client(), "/v1/keys", "keys", nil)
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) {
				row(w, "ID", "PRINCIPAL", "NAME", "CREATED", "EXPIRES")
				for _, k := range all {
					expires := ""
					if k.ExpireTime != nil {
						expires = k.ExpireTime.Format(time.RFC3339)
					}
					row(w, k.id(), k.Principal, k.DisplayName, k.CreateTime.Format(time.RFC3339), expires)
				}
			})
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "Revoke a key; it stops working at once", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.client().Call(c.Context(), http.MethodDelete, "/v1/keys/"+url.PathEscape(args[0]), nil, nil, nil)
		},
	}
	return group("keys", "API keys of devices, projects and administrators", create, list, revoke)
}
