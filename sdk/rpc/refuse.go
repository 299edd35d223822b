package rpc

import (
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"selvedge.dev/sdk/fault"
)

// refusals writes errors of calls. A request with JSON is a call of Connect's only if
// it says so.
var refusals = connect.NewErrorWriter(connect.WithRequireConnectProtocolHeader())

// Refuse answers a request that comes to no method, such as one with wrong
// credentials, in the words of who asked: gRPC's, gRPC-Web's and those of Connect's
// unary calls, and for all others as [fault.Write] does. Connect's streams are
// among those: they say in their body what went wrong, where nobody on the way
// sees it.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/connect+") || !refusals.IsSupported(r) {
		fault.Write(w, err)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = refusals.Write(w, r, Error(err)) // what cannot be written has no reader
}
