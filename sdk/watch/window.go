package watch

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/resource"
)

// shown is an object in a page as its receiver has it.
type shown struct {
	name   resource.Name
	object proto.Message
}

// moves are the changes that make the page a receiver has into another. He
// applies them one after the other to his array: Removed takes out what is at
// the index; Set takes out what is at the previous index, unless it is new, and
// puts the object in at the index. As few objects as can be are moved.
func (p *protocol) moves(have, want []shown) []protoreflect.Message {
	var out []protoreflect.Message
	wanted := make(map[resource.Name]int, len(want))
	for i, s := range want {
		wanted[s.name] = i
	}
	at := make([]resource.Name, 0, len(want)) // the receiver's array
	had := make(map[resource.Name]proto.Message, len(have))
	var places []int // of what stays, in the page that is wanted
	for _, s := range have {
		i, ok := wanted[s.name]
		if !ok {
			out = append(out, p.removedChange(s.name, len(at)))
			continue
		}
		at, places, had[s.name] = append(at, s.name), append(places, i), s.object
	}
	stays := longestRise(places)
	for i, s := range want {
		before, ok := had[s.name]
		switch {
		case !ok:
			to := 0
			if i > 0 {
				to = slices.Index(at, want[i-1].name) + 1
			}
			at = slices.Insert(at, to, s.name)
			out = append(out, p.setChange(s.object, to, 0, true))
		case !stays[i]:
			from, to := slices.Index(at, s.name), 0
			at = slices.Delete(at, from, from+1)
			if i > 0 {
				to = slices.Index(at, want[i-1].name) + 1
			}
			at = slices.Insert(at, to, s.name)
			out = append(out, p.setChange(s.object, to, from, false))
		case !proto.Equal(before, s.object):
			j := slices.Index(at, s.name)
			out = append(out, p.setChange(s.object, j, j, false))
		}
	}
	return out
}

// longestRise are the members of a longest rising subsequence of a.
func longestRise(a []int) map[int]bool {
	var tails []int // tails[k] is where in a the best subsequence of length k+1 ends
	prev := make([]int, len(a))
	for i, v := range a {
		k, _ := slices.BinarySearchFunc(tails, v, func(j, v int) int { return a[j] - v })
		prev[i] = -1
		if k > 0 {
			prev[i] = tails[k-1]
		}
		if k == len(tails) {
			tails = append(tails, i)
		} else {
			tails[k] = i
		}
	}
	in := make(map[int]bool, len(tails))
	if len(tails) > 0 {
		for i := tails[len(tails)-1]; i >= 0; i = prev[i] {
			in[a[i]] = true
		}
	}
	return in
}
