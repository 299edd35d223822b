package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// envConfig is the file of the contexts.
const envConfig = "SELVEDGE_CONFIG"

// contexts are the platforms that somebody works with, in a file that only he
// can read.
type contexts struct {
	// Current is the one in use, "" for none.
	Current string `json:"current,omitempty"`
	// Contexts are all, by name.
	Contexts map[string]place `json:"contexts,omitempty"`
}

// place is one context: a platform, and who one is there.
type place struct {
	URL     string `json:"url,omitempty"`
	Key     string `json:"key,omitempty"`
	Project string `json:"project,omitempty"`
	Region  string `json:"region,omitempty"`
}

// configFile is where the contexts are.
func configFile() (string, error) {
	if file := os.Getenv(envConfig); file != "" {
		return file, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "selvedge", "config.yaml"), nil
}

// readContexts reads them; a file that is not there has none.
func readContexts() (contexts, error) {
	var c contexts
	file, err := configFile()
	if err != nil {
		return c, nil // without a home there are no contexts
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// write keeps the contexts. The file has keys in it, so it is its owner's.
func (c contexts) write() error {
	file, err := configFile()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	// Whole or not at all: a crash in the middle must not lose the keys.
	temp := file + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, file)
}

// settle fills in what neither flags nor the environment say from the context.
func (a *app) settle(c *cobra.Command) error {
	all, err := readContexts()
	if err != nil {
		return err
	}
	name := a.context
	if name == "" {
		name = all.Current
	}
	here, ok := all.Contexts[name]
	if name != "" && !ok {
		return usageError{fmt.Errorf("there is no context %q: `selvedge context list` lists them", name)}
	}
	for _, s := range []struct {
		flag, env, value, fallback string
		to                         *string
	}{
		{"url", envURL, here.URL, defaultURL, &a.url},
		{"project", "", here.Project, "default", &a.project},
		{"region", "", here.Region, "", &a.region},
		{"", envKey, here.Key, "", &a.key},
	} {
		if s.flag != "" && c.Flags().Changed(s.flag) {
			continue
		}
		*s.to = s.fallback
		if s.value != "" {
			*s.to = s.value
		}
		// What the shell says is nearer than what a file does, unless the
		// context was asked for by name.
		if env := os.Getenv(s.env); s.env != "" && env != "" && a.context == "" {
			*s.to = env
		}
	}
	return nil
}

// contexts is `selvedge context`.
func (a *app) contexts() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the contexts", Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			all, err := readContexts()
			if err != nil {
				return err
			}
			shown := map[string]place{}
			for name, p := range all.Contexts {
				if p.Key != "" {
					p.Key = "(kept)"
				}
				shown[name] = p
			}
			return a.print(shown, func(w io.Writer) {
				row(w, "CURRENT", "NAME", "URL", "PROJECT", "REGION", "KEY")
				for _, name := range slices.Sorted(maps.Keys(shown)) {
					mark := ""
					if name == all.Current {
						mark = "*"
					}
					p := shown[name]
					row(w, mark, name, p.URL, p.Project, p.Region, p.Key)
				}
			})
		},
	}
	use := &cobra.Command{
		Use: "use NAME", Short: "Work with this context from now on", Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := readContexts()
			if err != nil {
				return err
			}
			if _, ok := all.Contexts[args[0]]; !ok {
				return usageError{fmt.Errorf("there is no context %q: `selvedge context list` lists them", args[0])}
			}
			all.Current = args[0]
			return all.write()
		},
	}
	set := &cobra.Command{
		Use: "set NAME", Short: "Keep what is in use now, or said by flags and environment, as a context", Args: exactly("NAME"),
		Example: "  SELVEDGE_KEY=… selvedge context set factory --url https://selvedge.example.com --project factory-7",
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := readContexts()
			if err != nil {
				return err
			}
			if all.Contexts == nil {
				all.Contexts = map[string]place{}
			}
			all.Contexts[args[0]] = place{URL: a.url, Key: a.key, Project: a.project, Region: a.region}
			if all.Current == "" {
				all.Current = args[0]
			}
			return all.write()
		},
	}
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Forget a context", Args: exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := readContexts()
			if err != nil {
				return err
			}
			if _, ok := all.Contexts[args[0]]; !ok {
				return usageError{fmt.Errorf("there is no context %q", args[0])}
			}
			delete(all.Contexts, args[0])
			if all.Current == args[0] {
				all.Current = ""
			}
			return all.write()
		},
	}
	return group("context", "The platforms that you work with", list, use, set, remove)
}
