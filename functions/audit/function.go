package audit

import (
	"context"
	"errors"
	"log/slog"
	"os"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore/clickhouse"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/member"
)

// LogsVariable is the ClickHouse that has the platform's logs, as
// [clickhouse.Options] have it.
const LogsVariable = "SELVEDGE_LOGS"

// Function is the service as a process of its own, beside the platform and on its
// database, and on the ClickHouse that has its logs. It makes no records but of
// its own calls, and has no trail: that is the platform's.
type Function struct{ gateway.Hosted }

var _ function.Starter = (*Function)(nil)

// New returns a function that has not started.
func New() *Function { return &Function{} }

// Start opens the service.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	if env[LogsVariable] == "" {
		return &fault.Error{Op: "audit.Start", Kind: fault.Invalid, Reason: "NOT_CONFIGURED", Field: LogsVariable, Err: errors.New(LogsVariable + " is not set")}
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	return member.Start(ctx, env, &f.Hosted, member.Options{Logger: log}, func(m *member.Member) (member.Served, error) {
		logs, err := clickhouse.Open(ctx, clickhouse.Options{DSN: env[LogsVariable], Once: true, Repeated: []string{auditv1.Bucket}, Logger: log})
		if err != nil {
			return member.Served{}, err
		}
		s, err := NewService(m.Store, Options{Service: m.Service, Logs: logs})
		if err != nil {
			return member.Served{}, errors.Join(err, logs.Close())
		}
		return member.Served{Server: s, OpenAPI: auditv1.OpenAPI, Close: logs.Close}, nil
	})
}
