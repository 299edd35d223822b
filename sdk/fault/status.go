package fault

import "net/http"

// kinds is the one table of what a Kind means outside: its word, the HTTP
// status that a synchronous caller gets, the status that an event function
// answers to its broker, and google.rpc.Code. Brokers retry 404, 408, 409, 429 and every 5xx, and
// dead-letter any other 4xx, so a missing thing is 422 to a broker: asking
// again does not make it appear.
var kinds = [...]struct {
	word, text  string
	http, event int
	code        int
}{
	Internal:        {"INTERNAL", "internal error", http.StatusInternalServerError, http.StatusInternalServerError, 13},
	Invalid:         {"INVALID_ARGUMENT", "invalid argument", http.StatusBadRequest, http.StatusBadRequest, 3},
	Unauthenticated: {"UNAUTHENTICATED", "no valid credentials", http.StatusUnauthorized, http.StatusForbidden, 16},
	Denied:          {"PERMISSION_DENIED", "permission denied", http.StatusForbidden, http.StatusForbidden, 7},
	NotFound:        {"NOT_FOUND", "not found", http.StatusNotFound, http.StatusUnprocessableEntity, 5},
	Exists:          {"ALREADY_EXISTS", "already exists", http.StatusConflict, http.StatusConflict, 6},
	Conflict:        {"ABORTED", "conflicting write", http.StatusConflict, http.StatusConflict, 10},
	Exhausted:       {"RESOURCE_EXHAUSTED", "bound reached", http.StatusTooManyRequests, http.StatusTooManyRequests, 8},
	Unavailable:     {"UNAVAILABLE", "unavailable", http.StatusServiceUnavailable, http.StatusServiceUnavailable, 14},
	TooLarge:        {"OUT_OF_RANGE", "too large", http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge, 11},
	Unsupported:     {"UNSUPPORTED", "unsupported media type", http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType, 12},
	Precondition:    {"FAILED_PRECONDITION", "not possible in this state", http.StatusBadRequest, http.StatusBadRequest, 9},
}

// String is the canonical word of the Kind, as google.rpc.Code spells it where
// that has one.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k].word
	}
	return kinds[Internal].word
}

// HTTPStatus is the status that a synchronous HTTP caller gets.
func (k Kind) HTTPStatus() int { return kinds[k].http }

// Code is the google.rpc.Code that a gRPC caller gets.
func (k Kind) Code() int { return kinds[k].code }

// OfCode is the Kind that a google.rpc.Code of another program stands for; the
// inverse of Code.
func OfCode(code int) Kind {
	for k, row := range kinds {
		if row.code == code {
			return Kind(k)
		}
	}
	switch code {
	case 1, 4: // cancelled, deadline exceeded
		return Unavailable
	}
	return Internal
}

// EventStatus is the status that a function answers to the broker that
// delivered the event; see [Retried] for what the broker then does.
func (k Kind) EventStatus() int { return kinds[k].event }

// Retried reports whether a Knative broker delivers again after status. It is
// the observed behaviour of the multi-tenant broker, and of ours: no answer
// (0), 404, 408, 409, 429 and every 5xx are retried.
func Retried(status int) bool {
	switch status {
	case 0, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// OfStatus is the Kind that an HTTP answer of another program stands for; the
// inverse of HTTPStatus as far as it has one.
func OfStatus(status int) Kind {
	for k, row := range kinds {
		if row.http == status && Kind(k) != Exists {
			return Kind(k)
		}
	}
	switch {
	case status == http.StatusUnprocessableEntity:
		return Invalid
	case status >= 400 && status < 500:
		return Invalid
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return Unavailable
	}
	return Internal
}
