package command

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"selvedge.dev/sdk/resource"
)

// device is as much of a device as its aliases' commands show.
type device struct {
	Name    string  `json:"name"`
	Aliases []alias `json:"aliases,omitempty"`
}

// alias is an external name.
type alias struct {
	Network string `json:"network"`
	Key     string `json:"key"`
	Value   string `json:"value"`
}

// devices is `selvedge devices`: what the commands of every type cannot say.
func (a *app) devices() *cobra.Command {
	var remove bool
	change := &cobra.Command{
		Use: "alias NAME NETWORK/KEY/VALUE", Short: "Give a device an external name, or take it away", Args: exactly("NAME", "NETWORK/KEY/VALUE"),
		Example: "  selvedge devices alias pump-1 boat-network/esn/5551212",
		RunE: func(c *cobra.Command, args []string) error {
			name, err := a.name(resource.Device, args[0])
			if err != nil {
				return err
			}
			external, err := parseAlias(args[1])
			if err != nil {
				return err
			}
			verb := ":alias"
			if remove {
				verb = ":removeAlias"
			}
			var d device
			if err := a.client().Call(c.Context(), http.MethodPost, "/v1/"+string(name)+verb, nil, map[string]any{"alias": external}, &d); err != nil {
				return err
			}
			return a.printDevice(d)
		},
	}
	change.Flags().BoolVar(&remove, "remove", false, "take the name away")
	resolve := &cobra.Command{
		Use: "resolve NETWORK/KEY/VALUE", Short: "Find the device with an external name", Args: exactly("NETWORK/KEY/VALUE"),
		RunE: func(c *cobra.Command, args []string) error {
			external, err := parseAlias(args[0])
			if err != nil {
				return err
			}
			var d device
			q := url.Values{"network": {external.Network}, "key": {external.Key}, "value": {external.Value}}
			if err := a.client().Call(c.Context(), http.MethodGet, "/v1/projects/"+a.project+"/devices:resolve", q, nil, &d); err != nil {
				return err
			}
			return a.printDevice(d)
		},
	}
	return group("devices", "The external names of devices; for all else see create, list, get, update, delete", change, resolve)
}

// printDevice prints a device with its aliases.
func (a *app) printDevice(d device) error {
	return a.print(d, func(w io.Writer) {
		row(w, "NAME", "ALIAS")
		for _, x := range d.Aliases {
			row(w, d.Name, x.Network+"/"+x.Key+"/"+x.Value)
		}
		if len(d.Aliases) == 0 {
			row(w, d.Name, "")
		}
	})
}

// parseAlias reads NETWORK/KEY/VALUE. Only the value may have a slash in it.
func parseAlias(s string) (alias, error) {
	parts := strings.SplitN(s, "/", 3)
	if len(parts) != 3 {
		return alias{}, usageError{fmt.Errorf("alias %.256q must be NETWORK/KEY/VALUE", s)}
	}
	return alias{parts[0], parts[1], parts[2]}, nil
}

// name is the full name that arg stands for: itself, or its id in the project
// of the flag.
func (a *app) name(p resource.Pattern, arg string) (resource.Name, error) {
	if !strings.Contains(arg, "/") {
		arg = "projects/" + a.project + "/" + p.Collection() + "/" + arg
	}
	return p.Parse(arg)
}
