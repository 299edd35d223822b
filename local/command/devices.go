package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/resource"
)

// devices is `selvedge devices`.
func (a *app) devices() *cobra.Command {
	var aliases []string
	var d devicesv1.Device
	create := &cobra.Command{
		Use: "create NAME", Short: "Register a device", Args: exactly("NAME"),
		Example: "  selvedge devices create projects/default/devices/pump-1 --alias boat-network/esn/5551212",
		RunE: func(c *cobra.Command, args []string) error {
			name, err := a.name(resource.Device, args[0])
			if err != nil {
				return err
			}
			d.Name = string(name)
			for _, s := range aliases {
				alias, err := devicesv1.ParseAlias(s)
				if err != nil {
					return err
				}
				d.Aliases = append(d.Aliases, alias)
			}
			var made devicesv1.Device
			path := "/v1/" + string(name.Parent()) + "/devices"
			if err := a.client().Call(c.Context(), http.MethodPost, path, url.Values{"deviceId": {name.ID()}}, d, &made); err != nil {
				return err
			}
			return a.printDevices(made)
		},
	}
	create.Flags().StringArrayVar(&aliases, "alias", nil, "an external name, NETWORK/KEY/VALUE; may be given often")
	create.Flags().StringVar(&d.Blueprint, "blueprint", "", "the device's blueprint, projects/P/blueprints/B")
	create.Flags().StringVar(&d.Route, "route", "", "the topic of the device's events; by default its blueprint's, then writer")
	list := &cobra.Command{
		Use: "list", Short: "List the devices of a project", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := pages[devicesv1.Device](c.Context(), a.client(), "/v1/projects/"+a.project+"/devices", "devices", nil)
			if err != nil {
				return err
			}
			return a.printDevices(all...)
		},
	}
	get := &cobra.Command{
		Use: "get NAME", Short: "Show a device", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.deviceCall(c, args[0], "", nil)
		},
	}
	var remove bool
	alias := &cobra.Command{
		Use: "alias NAME NETWORK/KEY/VALUE", Short: "Give a device an external name, or take it away", Args: exactly("NAME", "NETWORK/KEY/VALUE"),
		RunE: func(c *cobra.Command, args []string) error {
			alias, err := devicesv1.ParseAlias(args[1])
			if err != nil {
				return err
			}
			verb := ":alias"
			if remove {
				verb = ":removeAlias"
			}
			return a.deviceCall(c, args[0], verb, map[string]any{"alias": alias})
		},
	}
	alias.Flags().BoolVar(&remove, "remove", false, "take the name away")
	return group("devices", "The devices of a project", create, list, get, alias, a.remove(resource.Device, "device"))
}

// deviceCall makes a call about one device whose answer is the device: a
// custom method with in, or a read if in is nil.
func (a *app) deviceCall(c *cobra.Command, arg, verb string, in any) error {
	method := http.MethodGet
	if in != nil {
		method = http.MethodPost
	}
	name, err := a.name(resource.Device, arg)
	if err != nil {
		return err
	}
	var d devicesv1.Device
	if err := a.client().Call(c.Context(), method, "/v1/"+string(name)+verb, nil, in, &d); err != nil {
		return err
	}
	return a.printDevices(d)
}

// name is the full name that arg stands for: itself, or its id in the project
// of the flag.
func (a *app) name(p resource.Pattern, arg string) (resource.Name, error) {
	if !strings.Contains(arg, "/") {
		arg = "projects/" + a.project + "/" + p.Collection() + "/" + arg
	}
	return p.Parse(arg)
}

// printDevices writes devices.
func (a *app) printDevices(all ...devicesv1.Device) error {
	return a.print(all, func(w io.Writer) {
		row(w, "NAME", "ALIASES", "BLUEPRINT", "ROUTE")
		for _, d := range all {
			names := make([]string, len(d.Aliases))
			for i, alias := range d.Aliases {
				names[i] = alias.String()
			}
			row(w, d.Name, strings.Join(names, " "), d.Blueprint, d.Route)
		}
	})
}

// remove is the verb that deletes a resource of the pattern.
func (a *app) remove(p resource.Pattern, what string) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a " + what, Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			name, err := a.name(p, args[0])
			if err != nil {
				return err
			}
			return a.client().Call(c.Context(), http.MethodDelete, "/v1/"+string(name), nil, nil, nil)
		},
	}
}

// blueprints is `selvedge blueprints`.
func (a *app) blueprints() *cobra.Command {
	var file string
	create := &cobra.Command{
		Use: "create NAME -f FILE", Short: "Make a blueprint from a JSON file", Args: exactly("NAME"),
		Example: `  selvedge blueprints create climate -f - <<'JSON'
  {"mappings": [{"eventType": "com.example.climate", "fields": [
    {"field": "t", "metricType": "climate/temperature", "unit": "Cel"}]}]}
  JSON`,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := a.name(resource.Blueprint, args[0])
			if err != nil {
				return err
			}
			text, err := readFile(file)
			if err != nil {
				return err
			}
			var made devicesv1.Blueprint
			path, query := "/v1/"+string(name.Parent())+"/blueprints", url.Values{"blueprintId": {name.ID()}}
			if err := a.client().Call(c.Context(), http.MethodPost, path, query, text, &made); err != nil {
				return err
			}
			return a.printBlueprints(made)
		},
	}
	create.Flags().StringVarP(&file, "file", "f", "", "the file with the blueprint; - is standard input")
	list := &cobra.Command{
		Use: "list", Short: "List the blueprints of a project", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := pages[devicesv1.Blueprint](c.Context(), a.client(), "/v1/projects/"+a.project+"/blueprints", "blueprints", nil)
			if err != nil {
				return err
			}
			return a.printBlueprints(all...)
		},
	}
	return group("blueprints", "What devices of one make have in common", create, list, a.remove(resource.Blueprint, "blueprint"))
}

// maxFile bounds a file that is sent.
const maxFile = 1 << 20

// readFile reads JSON from the file at path, or from standard input.
func readFile(path string) (json.RawMessage, error) {
	in := io.Reader(os.Stdin)
	switch path {
	case "":
		return nil, usageError{errors.New("--file is missing")}
	case "-":
	default:
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("read %s: over %d bytes", path, maxFile)
	case !json.Valid(text):
		return nil, fmt.Errorf("read %s: not JSON", path)
	}
	return text, nil
}

// printBlueprints writes blueprints.
func (a *app) printBlueprints(all ...devicesv1.Blueprint) error {
	return a.print(all, func(w io.Writer) {
		row(w, "NAME", "ROUTE", "EVENT TYPES")
		for _, b := range all {
			types := make([]string, len(b.Mappings))
			for i, m := range b.Mappings {
				types[i] = m.EventType
			}
			row(w, b.Name, b.Route, strings.Join(types, " "))
		}
	})
}
