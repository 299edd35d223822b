package image

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Reference names an image in a registry.
type Reference struct {
	// Host is the registry, with its port if it has one; "" when none is named.
	Host string
	// Repository is the name of the images in it.
	Repository string
	// Tag is the name of one; Digest says which it is for good. There may be both,
	// and the digest counts then.
	Tag    string
	Digest Digest
}

// The forms of the parts of a reference, as the distribution specification has
// them.
var (
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	hostForm       = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)
)

// maxRepository is the bound of a host and a repository together: clients take
// no more.
const maxRepository = 255

// ParseReference reads HOST/REPOSITORY:TAG@DIGEST; all but the repository may be
// left out, and "latest" is the tag of what has neither. Anything else is an
// Invalid fault.
func ParseReference(s string) (Reference, error) {
	var r Reference
	name, digest, ok := strings.Cut(s, "@")
	if ok {
		d, err := ParseDigest(digest)
		if err != nil {
			return r, err
		}
		r.Digest = d
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, r.Tag = name[:i], name[i+1:]
		if !tagForm.MatchString(r.Tag) {
			return r, invalid("reference", fmt.Errorf("%.200q: not a tag: %.130q", s, r.Tag))
		}
	}
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		r.Host, name = first, rest
		if !hostForm.MatchString(r.Host) {
			return r, invalid("reference", fmt.Errorf("%.200q: not a host: %.130q", s, r.Host))
		}
	}
	r.Repository = name
	if len(r.Host)+len(name) > maxRepository {
		return r, invalid("reference", errors.New("too long"))
	}
	if !repositoryForm.MatchString(name) {
		return r, invalid("reference", fmt.Errorf("%.200q: not a repository: %.200q", s, name))
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	return r, nil
}

// Ref is what the manifest is asked for by: the digest, or else the tag.
func (r Reference) Ref() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}

// String is the reference as ParseReference reads it.
func (r Reference) String() string {
	s := r.Repository
	if r.Host != "" {
		s = r.Host + "/" + s
	}
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}
