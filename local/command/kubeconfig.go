package command

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"selvedge.dev/local/cluster/kubeapi"
	"selvedge.dev/sdk/fault"
)

// kubeconfig is `selvedge kubeconfig`.
func (a *app) kubeconfig() *cobra.Command {
	var name, ca string
	var merge bool
	cmd := &cobra.Command{
		Use: "kubeconfig", Short: "Let func and kubectl work with the platform", Args: exactly(),
		Long: `Kubeconfig prints a configuration for kubectl, Knative's func and whatever else
speaks Kubernetes' API, with the platform's address, the key in use and the
project as the namespace.

With --merge it goes into $KUBECONFIG (or ~/.kube/config) as the current context
instead, and the key becomes that of the platform's image registry in
$DOCKER_CONFIG/config.json (or ~/.docker/config.json), where func looks for it.
Both files are then readable by their owner alone.`,
		Example: `  selvedge kubeconfig --merge
  func deploy --builder=host --registry 127.0.0.1:8080/default`,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.key == "" {
				return usageError{errors.New("there is no key to put into it: set $" + envKey)}
			}
			k, err := newKubeconfig(a, name, ca)
			if err != nil {
				return err
			}
			if !merge {
				text, err := yaml.Marshal(k)
				if err != nil {
					return err
				}
				_, err = a.out.Write(text)
				return err
			}
			host, err := a.mergeKubeconfig(k)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "The current context is %s, and its images go to %s/%s:\n\n  func deploy --builder=host --registry %s/%s\n", name, host, a.project, host, a.project)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "selvedge", "the name of the context")
	cmd.Flags().StringVar(&ca, "certificate-authority", "", "the PEM file of who signed the platform's certificate")
	cmd.Flags().BoolVar(&merge, "merge", false, "add it to what kubectl, func and docker have")
	return cmd
}

// named is an entry of a kubeconfig: a name, and what it names.
type named map[string]any

// kubeconfig is a configuration of kubectl. Fields that are not known here are
// kept by mergeKubeconfig, which works on the map.
type kubeconfig struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Current    string  `json:"current-context"`
	Clusters   []named `json:"clusters"`
	Users      []named `json:"users"`
	Contexts   []named `json:"contexts"`
}

// newKubeconfig is that for the platform that the command line works with.
func newKubeconfig(a *app, name, ca string) (kubeconfig, error) {
	u, err := url.Parse(a.url)
	if err != nil || u.Host == "" {
		return kubeconfig{}, usageError{fmt.Errorf("--url %q is no URL", a.url)}
	}
	var roots []byte
	switch {
	case ca != "":
		roots, err = os.ReadFile(ca)
	case u.Scheme == "http":
		// Clients of Kubernetes send no credentials without TLS. The platform
		// has a certificate of its own, and is believed to be who it is as it is
		// whenever its port is used without TLS.
		u.Scheme = "https"
		roots, err = presented(u.Host)
	}
	if err != nil {
		return kubeconfig{}, err
	}
	cluster := map[string]any{"server": strings.TrimSuffix(u.String(), "/") + kubeapi.Prefix}
	if roots != nil {
		cluster["certificate-authority-data"] = base64.StdEncoding.EncodeToString(roots)
	}
	return kubeconfig{
		APIVersion: "v1", Kind: "Config", Current: name,
		Clusters: []named{{"name": name, "cluster": cluster}},
		Users:    []named{{"name": name, "user": map[string]any{"token": a.key}}},
		Contexts: []named{{"name": name, "context": map[string]any{"cluster": name, "user": name, "namespace": a.project}}},
	}, nil
}

// presented is the certificate that a platform says is its own, in PEM.
func presented(host string) ([]byte, error) {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: callTimeout}, Config: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // it is what is asked for
	}}
	conn, err := dialer.Dial("tcp", host)
	if err != nil {
		return nil, &fault.Error{Op: "command.kubeconfig", Kind: fault.Unavailable, Reason: "NO_ANSWER", Err: err}
	}
	defer func() { _ = conn.Close() }() // nothing was sent
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw}), nil
}

// mergeKubeconfig adds k to the files of kubectl and docker, and returns the
// host of the registry.
func (a *app) mergeKubeconfig(k kubeconfig) (string, error) {
	u, err := url.Parse(a.url)
	if err != nil || u.Host == "" {
		return "", usageError{fmt.Errorf("--url %q is no URL", a.url)}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	kube := filepath.Join(home, ".kube", "config")
	if list := filepath.SplitList(os.Getenv("KUBECONFIG")); len(list) > 0 {
		kube = list[0]
	}
	err = editFile(kube, func(all map[string]any) {
		all["apiVersion"], all["kind"], all["current-context"] = k.APIVersion, k.Kind, k.Current
		for field, entries := range map[string][]named{"clusters": k.Clusters, "users": k.Users, "contexts": k.Contexts} {
			list, _ := all[field].([]any)
			list = slices.DeleteFunc(list, func(e any) bool {
				m, ok := e.(map[string]any)
				return ok && m["name"] == k.Current
			})
			all[field] = append(list, entries[0])
		}
	})
	if err != nil {
		return "", err
	}
	docker := filepath.Join(home, ".docker")
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		docker = dir
	}
	return u.Host, editFile(filepath.Join(docker, "config.json"), func(all map[string]any) {
		auths, _ := all["auths"].(map[string]any)
		if auths == nil {
			auths = map[string]any{}
		}
		auths[u.Host] = map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte("selvedge:" + a.key))}
		all["auths"] = auths
	})
}

// editFile changes a file of YAML or JSON, made if it is not there, whole or
// not at all. It has keys in it, so it is its owner's.
func editFile(path string, change func(all map[string]any)) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all := map[string]any{}
	if err := yaml.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if all == nil {
		all = map[string]any{}
	}
	change(all)
	encode := yaml.Marshal
	if filepath.Ext(path) == ".json" {
		encode = func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "\t") }
	}
	if text, err = encode(all); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
