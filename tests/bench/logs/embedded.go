package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore/embedded"
)

// openEmbedded opens both in this process, which settles the memory that the
// library may use for both.
func openEmbedded(context.Context, settings) (*pair, error) {
	dir, err := os.MkdirTemp("", "selvedge-logs-")
	if err != nil {
		return nil, err
	}
	store, err := embedded.Open(filepath.Join(dir, "ours"), embedded.Options{Once: true})
	if err != nil {
		return nil, err
	}
	theirs := &victoria{}
	theirs.open(filepath.Join(dir, "theirs"))
	return &pair{
		ours: store, theirs: theirs,
		settle: func(ctx context.Context) (mine, others int64, err error) {
			if err := store.Sync(ctx); err != nil {
				return 0, 0, err
			}
			// All that it has in memory is written when it is closed.
			theirs.engine.MustClose()
			theirs.open(filepath.Join(dir, "theirs"))
			if mine, err = size(filepath.Join(dir, "ours")); err != nil {
				return 0, 0, err
			}
			others, err = size(filepath.Join(dir, "theirs"))
			return mine, others, err
		},
		close: func() {
			_ = store.Close()
			theirs.engine.MustClose()
			_ = os.RemoveAll(dir)
		},
	}, nil
}

// size is how many bytes the files in a folder are. Those that go away meanwhile
// do not count.
func size(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				n += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return n, err
}

// victoria is the storage used directly.
type victoria struct{ engine *logstorage.Storage }

// open opens the storage.
func (v *victoria) open(dir string) {
	v.engine = logstorage.MustOpenStorage(dir, &logstorage.StorageConfig{
		Retention: 1000 * 24 * time.Hour, FutureRetention: 1000 * 24 * time.Hour, FlushInterval: 5 * time.Second,
	})
}

// insert implements direct: a field for each attribute, and streams by what the
// records come from.
func (v *victoria) insert(_ context.Context, records []record) error {
	rows := logstorage.GetLogRows([]string{"service_name", "region", "zone", "version", "instance"}, nil, nil, nil, "")
	defer logstorage.PutLogRows(rows)
	var fields []logstorage.Field
	for i := range records {
		r := &records[i]
		fields = append(fields[:0], logstorage.Field{Name: "_msg", Value: r.body}, logstorage.Field{Name: "level", Value: severityNames[r.severity]},
			logstorage.Field{Name: "trace_id", Value: r.trace}, logstorage.Field{Name: "span_id", Value: r.span})
		for _, labels := range []map[string]string{r.resource, r.attributes} {
			for k, value := range labels {
				fields = append(fields, logstorage.Field{Name: k, Value: value})
			}
		}
		rows.MustAdd(logstorage.TenantID{}, r.time.UnixNano(), fields, -1)
	}
	v.engine.MustAddRows(rows)
	return nil
}

// ask implements direct, by LogsQL.
func (v *victoria) ask(ctx context.Context, q question) (int, error) {
	terms := []string{"*"}
	if q.service != "" {
		terms = append(terms, fmt.Sprintf("{service_name=%q}", q.service))
	}
	if q.severity > 0 {
		terms = append(terms, "level:in("+strings.Join(severityNames[q.severity:], ",")+")")
	}
	if q.word != "" {
		terms = append(terms, fmt.Sprintf("i(%q)", q.word))
	}
	if q.part != "" {
		terms = append(terms, fmt.Sprintf("~%q", "(?i)"+q.part))
	}
	if q.device != "" {
		terms = append(terms, fmt.Sprintf(`"device.id":=%q`, q.device))
	}
	text := strings.Join(terms, " ") + " | sort by (_time desc) limit 100"
	if q.bars {
		text = strings.Join(terms, " ") + " | stats by (_time:5m, level) count() as n"
	}
	query, err := logstorage.ParseQuery(text)
	if err != nil {
		return 0, err
	}
	query.AddTimeFilter(q.from.UnixNano(), q.to.UnixNano()-1)
	var n atomic.Int64
	var stats logstorage.QueryStats
	err = v.engine.RunQuery(logstorage.NewQueryContext(ctx, &stats, []logstorage.TenantID{{}}, query, false, nil), func(_ uint, b *logstorage.DataBlock) {
		n.Add(int64(b.RowsCount()))
	})
	return int(n.Load()), err
}
