// Package bundle is what an instance is made of, however it is run: its image,
// its program with arguments and variables, its user, and the files of its
// volumes.
//
// Whose images a project may run is not decided here: a Source says where an
// image is, or that there is none for that project.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/sdk/fault"
)

// Source is where an image is that a project names; a NotFound fault is that
// there is none for it.
type Source func(ctx context.Context, namespace string, ref image.Reference) (image.Source, error)

// Find reads the name of an image and finds where it is.
func (s Source) Find(ctx context.Context, namespace, name string) (image.Reference, image.Source, error) {
	ref, err := image.ParseReference(name)
	if err != nil {
		return ref, nil, err
	}
	source, err := s(ctx, namespace, ref)
	return ref, source, err
}

// Resolve is the reference by digest of an image that a project may run.
func (s Source) Resolve(ctx context.Context, namespace, name string) (string, error) {
	ref, source, err := s.Find(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	manifest, err := source.Manifest(ctx, ref.Ref())
	if fault.KindOf(err) == fault.NotFound {
		return "", &fault.Error{Op: "bundle.Resolve", Name: name, Kind: fault.NotFound, Err: fmt.Errorf("image %q is not in the registry", name)}
	}
	if err != nil {
		return "", err
	}
	if ref.Tag = ""; ref.Digest == "" {
		ref.Digest = image.DigestOf(manifest)
	}
	return ref.String(), nil
}

// Arguments are the program and its arguments, as Kubernetes reads an image's:
// a command replaces the entry point and the arguments with it.
func Arguments(c image.Config, command, args []string) []string {
	if command != nil {
		return append(command[:len(command):len(command)], args...)
	}
	if args != nil {
		return append(c.Config.Entrypoint[:len(c.Config.Entrypoint):len(c.Config.Entrypoint)], args...)
	}
	return c.Args()
}

// defaultPath is where programs are looked for in an image that does not say.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environment is the variables of an image and of all lists; of two of a name the
// last counts.
func Environment(c image.Config, lists ...[]string) []string {
	var out []string
	at := map[string]int{}
	for _, list := range append([][]string{{defaultPath}, c.Config.Env}, lists...) {
		for _, kv := range list {
			name, _, _ := strings.Cut(kv, "=")
			if i, ok := at[name]; ok {
				out[i] = kv
				continue
			}
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return out
}

// User is whom an instance runs as whose image asks for these numbers: never as
// root, and an instance that asks for root and against it is an Invalid fault.
func User(i pool.Instance, uid, gid uint32) (uint32, uint32, error) {
	for to, given := range map[*uint32]*int64{&uid: i.User, &gid: i.Group} {
		if given != nil {
			*to = uint32(*given)
		}
	}
	if i.NonRoot && i.User != nil && uid == 0 {
		return 0, 0, &fault.Error{Op: "bundle.User", Name: i.Name, Kind: fault.Invalid, Field: "runAsUser", Err: errors.New("runAsNonRoot forbids the user 0")}
	}
	if uid == 0 {
		uid = sandbox.NonRoot
	}
	if gid == 0 {
		gid = uid
	}
	return uid, gid, nil
}
