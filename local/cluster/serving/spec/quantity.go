package spec

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Quantity is an amount as Kubernetes writes it: "400m", "128Mi", "0.5", 2.
type Quantity string

// UnmarshalJSON takes a text or a number.
func (q *Quantity) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var s string
		err := json.Unmarshal(data, &s)
		*q = Quantity(s)
		return err
	}
	*q = Quantity(data)
	return nil
}

// suffixes are the units of quantities.
var suffixes = []struct {
	text   string
	factor float64
}{
	{"Ki", 1 << 10},
	{"Mi", 1 << 20},
	{"Gi", 1 << 30},
	{"Ti", 1 << 40},
	{"Pi", 1 << 50},
	{"Ei", 1 << 60},
	{"n", 1e-9},
	{"u", 1e-6},
	{"m", 1e-3},
	{"k", 1e3},
	{"M", 1e6},
	{"G", 1e9},
	{"T", 1e12},
	{"P", 1e15},
	{"E", 1e18},
}

// maxQuantity bounds an amount, so that it is a count of bytes.
const maxQuantity = math.MaxInt64 / 1024

// Value is the amount.
func (q Quantity) Value() (float64, error) {
	number, factor := string(q), 1.0
	for _, s := range suffixes {
		if n, ok := strings.CutSuffix(number, s.text); ok {
			number, factor = n, s.factor
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.ContainsAny(number, "_xXpPnNiI") {
		return 0, fmt.Errorf("%q is no quantity such as 400m or 128Mi", string(q))
	}
	if v *= factor; v < 0 || v > maxQuantity {
		return 0, fmt.Errorf("%q is not between 0 and %g", string(q), float64(maxQuantity))
	}
	return v, nil
}
