package event

import "github.com/cloudevents/sdk-go/v2/types"

// formatAttribute is the canonical string of an attribute value
// (CloudEvents 1.0, "Type System").
func formatAttribute(v any) (string, error) { return types.Format(v) }
