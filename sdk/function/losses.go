package function

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// LossesHeader is the header by which a function in another process reports
// what it dropped from an event that it otherwise applied:
//
//	Selvedge-Losses: NOT_FINITE=1, TOO_OLD=12
//
// Reasons are query-escaped, so that any reason comes through.
const LossesHeader = "Selvedge-Losses"

// FormatLosses is the value of LossesHeader for losses, "" for none.
func FormatLosses(losses []Loss) string {
	var b strings.Builder
	for _, l := range losses {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s=%d", url.QueryEscape(l.Reason), l.Count)
	}
	return b.String()
}

// ParseLosses is the inverse of FormatLosses. A value with anything in it that
// is no loss is an error as a whole: a loss that cannot be read is not none.
func ParseLosses(value string) ([]Loss, error) {
	if value == "" {
		return nil, nil
	}
	var losses []Loss
	for part := range strings.SplitSeq(value, ",") {
		escaped, number, ok := strings.Cut(strings.TrimSpace(part), "=")
		reason, err := url.QueryUnescape(escaped)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: %q is not REASON=COUNT", LossesHeader, part)
		}
		count, err := strconv.Atoi(number)
		if err != nil || count < 1 {
			return nil, fmt.Errorf("%s: %q has no positive count", LossesHeader, part)
		}
		losses = append(losses, Loss{Reason: reason, Count: count})
	}
	return losses, nil
}
