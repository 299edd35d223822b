package fault

import "net/http"

// kinds is the one table of what a Kind means outside: its word, the HTTP
// status that a synchronous caller gets, and the status that an event function
// answers to its broker. Brokers retry 404, 408, 409, 429 and every 5xx, and
// dead-letter any other 4xx, so a missing thing is 422 to a broker: asking
// again does not make it appear.
var kinds = [...]struct {
	word, text  string
	http, event int
}{
	Internal:        {"INTERNAL", "internal error", http.StatusInternalServerError, http.StatusInternalServerError},
	Invalid:         {"INVALID_ARGUMENT", "invalid argument", http.StatusBadRequest, http.StatusBadRequest},
	Unauthenticated: {"UNAUTHENTICATED", "no valid credentials", http.StatusUnauthorized, http.StatusForbidden},
	Denied:          {"PERMISSION_DENIED", "permission denied", http.StatusForbidden, http.StatusForbidden},
	NotFound:        {"NOT_FOUND", "not found", http.StatusNotFound, http.StatusUnprocessableEntity},
	Exists:          {"ALREADY_EXISTS", "already exists", http.StatusConflict, http.StatusConflict},
	Conflict:        {"ABORTED", "conflicting write", http.StatusConflict, http.StatusConflict},
	Exhausted:       {"RESOURCE_EXHAUSTED", "bound reached", http.StatusTooManyRequests, http.StatusTooManyRequests},
	Unavailable:     {"UNAVAILABLE", "unavailable", http.StatusServiceUnavailable, http.StatusServiceUnavailable},
	TooLarge:        {"OUT_OF_RANGE", "too large", http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge},
	Unsupported:     {"UNSUPPORTED", "unsupported media type", http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType},
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
