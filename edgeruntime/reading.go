package edgeruntime

import (
	"context"
	"math"
	"strings"
)

// Sensor reads figures of the machine. An Agent calls Read from one goroutine.
type Sensor interface {
	// Read sets every figure that can be had now. What could not be read is
	// joined in the error, and everything else is in r nonetheless. A figure
	// that the machine does not have is absent, not an error.
	Read(ctx context.Context, r Reading) error
}

// Reading is one reading of the machine: numbers by slash-separated path, in
// snake_case with the unit in the last word ("memory/used_bytes"). No path may
// begin another, since each is a leaf of one JSON object.
type Reading map[string]float64

// Set sets the figure at the path.
func (r Reading) Set(path string, v float64) { r[path] = v }

// tree is the reading as nested objects, which is how it becomes JSON. What
// JSON cannot say, an infinity or a NaN, is left out.
func (r Reading) tree() map[string]any {
	root := map[string]any{}
	for path, v := range r {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		node := root
		dirs := strings.Split(path, "/")
		for _, dir := range dirs[:len(dirs)-1] {
			child, ok := node[dir].(map[string]any)
			if !ok {
				child = map[string]any{}
				node[dir] = child
			}
			node = child
		}
		node[dirs[len(dirs)-1]] = v
	}
	return root
}
