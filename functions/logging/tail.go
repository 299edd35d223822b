package logging

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"sync"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"golang.org/x/sync/errgroup"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/sdk/fault"
)

// askedAgain is how often who follows entries is asked for the permission again.
const askedAgain = 10 * time.Second

// tailEntries answers TailLogEntries: the first request says what to follow, and
// each one after it, in place of what was said before.
func (d *Doors) tailEntries(ctx context.Context, receive func() (*loggingpb.TailLogEntriesRequest, error), send func(*loggingpb.TailLogEntriesResponse) error) error {
	req, err := receive()
	if err != nil {
		return invalid("resourceNames", "the stream ended before it said what to follow")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	requests := make(chan *loggingpb.TailLogEntriesRequest)
	go func() {
		for {
			next, err := receive()
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil // a client that says no more still reads
				}
				if err != nil {
					cancel(err)
				}
				return
			}
			select {
			case requests <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		next, err := d.tailOne(ctx, req, requests, send)
		if err != nil || next == nil {
			return err
		}
		req = next
	}
}

// tailOne follows what one request says, until ctx ends or another request
// comes, which it returns.
func (d *Doors) tailOne(ctx context.Context, req *loggingpb.TailLogEntriesRequest, requests <-chan *loggingpb.TailLogEntriesRequest, send func(*loggingpb.TailLogEntriesResponse) error) (*loggingpb.TailLogEntriesRequest, error) {
	following, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- d.follow(following, req.GetResourceNames(), req.GetFilter(), func() {}, func(found []logstore.Entry, missed int) error {
			out, err := asEntries(found)
			if err != nil {
				return err
			}
			return send(&loggingpb.TailLogEntriesResponse{Entries: out, SuppressionInfo: suppressed(missed)})
		})
	}()
	select {
	case err := <-done:
		return nil, err
	case next := <-requests:
		stop()
		if err := <-done; err != nil {
			return nil, err
		}
		return next, nil
	}
}

// suppressed says that entries were left out because the reader is too slow.
func suppressed(missed int) []*loggingpb.TailLogEntriesResponse_SuppressionInfo {
	if missed == 0 {
		return nil
	}
	return []*loggingpb.TailLogEntriesResponse_SuppressionInfo{{
		Reason: loggingpb.TailLogEntriesResponse_SuppressionInfo_NOT_CONSUMED, SuppressedCount: int32(min(missed, math.MaxInt32)),
	}}
}

// follow gives the entries that come from now on, until ctx ends, which is no
// error. It calls opened once it sees what comes.
func (d *Doors) follow(ctx context.Context, names []string, text string, opened func(), give func(found []logstore.Entry, missed int) error) error {
	parts, err := d.selectParts(ctx, ListEntries, names)
	if err != nil {
		return err
	}
	f, err := parseFilter(text)
	if err != nil {
		return err
	}
	g, following := errgroup.WithContext(ctx)
	var tails []*intake.Tail
	var others []*news
	defer func() {
		for _, t := range tails {
			t.Close()
		}
	}()
	for _, p := range parts {
		sel := logstore.Selection{Project: p.project, Buckets: p.buckets, Filter: f}
		t, err := d.o.Intake.Tail(sel)
		if err != nil {
			return err
		}
		tails, others = append(tails, t), append(others, d.newNews(ctx, sel))
	}
	d.o.Leave(ctx)
	opened()
	var mu sync.Mutex
	for i, t := range tails {
		once := newShown()
		show := func(found []logstore.Entry, missed int) error {
			mu.Lock()
			defer mu.Unlock()
			if found = once.first(found); len(found) == 0 && missed == 0 {
				return nil
			}
			return give(found, missed)
		}
		g.Go(func() error {
			for {
				found, missed, err := t.Next(following)
				if err == nil {
					err = show(found, missed)
				}
				if err != nil {
					return err
				}
			}
		})
		if others[i] != nil {
			g.Go(func() error {
				return others[i].run(following, func(found []logstore.Entry) error { return show(found, 0) })
			})
		}
	}
	g.Go(func() error { return d.watch(following, names) })
	if err = g.Wait(); ctx.Err() != nil {
		return nil
	}
	return err
}

// watch returns an error when the platform stops or the caller loses the
// permission, and otherwise waits until ctx ends.
func (d *Doors) watch(ctx context.Context, names []string) error {
	ticker := time.NewTicker(askedAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.ended:
			return &fault.Error{Op: "logging.follow", Kind: fault.Unavailable, Reason: "STOPPING", Err: errEnded}
		case <-ticker.C:
			if _, err := d.selectParts(ctx, ListEntries, names); err != nil {
				return err
			}
		}
	}
}

// restTail answers POST /v2/entries:tail: the answers of a stream as the elements
// of one JSON array, as Google's REST has streams.
func (d *Doors) restTail(w http.ResponseWriter, r *http.Request) error {
	req := &loggingpb.TailLogEntriesRequest{}
	if err := readStream(w, r, req); err != nil {
		return err
	}
	control := http.NewResponseController(w)
	begun, first := false, true
	err := d.follow(r.Context(), req.GetResourceNames(), req.GetFilter(), func() {
		begun = true
		_ = control.SetReadDeadline(time.Time{}) // a writer without it has no bound
		header(w)
		_, _ = io.WriteString(w, "[") // who went away is found out with the first entry
		_ = control.Flush()
	}, func(found []logstore.Entry, missed int) error {
		text, err := tailJSON(found, missed)
		if err != nil {
			return err
		}
		if !first {
			text = append([]byte(","), text...)
		}
		first = false
		if _, err := w.Write(text); err != nil {
			return context.Canceled
		}
		return control.Flush()
	})
	if !begun {
		return err
	}
	if err != nil {
		d.log(r.Context(), r.URL.Path, err)
		text := mustJSON(errorJSON(err))
		if !first {
			text = append([]byte(","), text...)
		}
		_, _ = w.Write(text)
	}
	_, _ = io.WriteString(w, "]\n") // who went away needs no end
	return nil
}

// tailJSON is one answer of a stream in JSON.
func tailJSON(found []logstore.Entry, missed int) ([]byte, error) {
	text, err := listJSON(found, "")
	if err != nil || missed == 0 {
		return text, err
	}
	info, err := compactJSON(&loggingpb.TailLogEntriesResponse{SuppressionInfo: suppressed(missed)})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return append(info, '\n'), nil
	}
	text = append(text[:len(text)-2], ',')
	return append(append(text, info[1:]...), '\n'), nil
}
