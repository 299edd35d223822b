package jsonscan_test

import (
	"fmt"

	"selvedge.dev/sdk/jsonscan"
)

// A scanner finds the one member that is asked for, and skips the others.
func Example() {
	s := jsonscan.New([]byte(`{"battery": {"percent": 84}, "volts": 3.7, "tags": ["a", "b"]}`))
	var volts string
	err := s.Object(func(name []byte) error {
		if string(name) != "volts" {
			return s.Skip()
		}
		v, err := s.Scalar()
		volts = string(v.Raw)
		return err
	})
	if err == nil {
		err = s.End()
	}
	fmt.Println(volts, err)
	// Output: 3.7 <nil>
}
