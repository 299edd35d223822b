package image

import (
	"runtime"
	"slices"
	"strings"
)

// Platform is what a program runs on, in the words of Go.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	// Variant is the version of the architecture: v7 of arm, v3 of amd64.
	Variant string `json:"variant"`
}

// String is OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT.
func (p Platform) String() string {
	if p.Variant == "" {
		return p.OS + "/" + p.Architecture
	}
	return p.OS + "/" + p.Architecture + "/" + p.Variant
}

// Host is what this machine runs. On arm it is the version that every machine
// has which runs containers; what a processor has beyond is not found out.
func Host() Platform {
	p := Platform{OS: "linux", Architecture: runtime.GOARCH}
	if p.Architecture == "arm" {
		p.Variant = "v7"
	}
	return p
}

// variants are the versions of an architecture that a machine of the last one
// runs, in their order; "" is the first of them.
var variants = map[string][]string{
	"arm":   {"v5", "v6", "v7", "v8"},
	"arm64": {"v8", "v9"},
	"amd64": {"v1", "v2", "v3", "v4"},
}

// rank is how well a program for q runs on p: greater is better, and 0 is not at
// all.
func (p Platform) rank(q *Platform) int {
	if q == nil || q.OS != p.OS || q.Architecture != p.Architecture {
		return 0
	}
	all := variants[p.Architecture]
	have, need := slices.Index(all, p.Variant), slices.Index(all, q.Variant)
	switch {
	case q.Variant == "" || q.Variant == p.Variant:
		return 1 + max(need, 0)
	case need < 0 || need > max(have, 0):
		return 0
	}
	return 1 + need
}

// choose is the best of what is there for p, the first of equals. One that names
// no platform at all does if it is alone.
func (p Platform) choose(all []Descriptor) (Descriptor, bool) {
	if len(all) == 1 && all[0].Platform == nil {
		return all[0], true
	}
	var best Descriptor
	most := 0
	for _, d := range all {
		if r := p.rank(d.Platform); r > most {
			best, most = d, r
		}
	}
	return best, most > 0
}

// platforms names those of an index, for a message.
func platforms(all []Descriptor) string {
	var names []string
	const few = 16 // an index of attestations has hundreds
	for _, d := range all {
		if d.Platform != nil && len(names) < few {
			names = append(names, d.Platform.String())
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
