package edgeruntime

import (
	"context"
	"log/slog"
	"sync"

	"selvedge.dev/sdk/fault"
)

// opNew is the operation of faults in a Config.
const opNew = "edgeruntime.New"

// Agent is the edge runtime of one device.
type Agent struct {
	config  Config
	queue   *queue
	link    *link
	uplink  *uplink
	sampler *sampler
}

// New opens the queue of c.Dir, making it if need be. A Config that cannot work
// is an Invalid fault for each reason, joined. The caller owes the agent a Run,
// which closes the queue, or a Close.
func New(c Config) (*Agent, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	q, err := openQueue(c.Dir, c.MaxBytes, c.fs, c.Logger)
	if err != nil {
		return nil, &fault.Error{Op: opNew, Kind: fault.KindOf(err), Err: err}
	}
	if c.exposed() {
		c.Logger.Warn("the key travels unencrypted", slog.String("url", c.URL))
	}
	l := newLink(c.Now, c.Logger)
	return &Agent{config: c, queue: q, link: l, uplink: newUplink(c, q, l), sampler: newSampler(c, q)}, nil
}

// Run reads and posts until ctx is done. Then it takes no further reading, makes
// one last attempt to send what is there, for five seconds at most, and closes
// the queue. What it could not send waits for the next start.
func (a *Agent) Run(ctx context.Context) error {
	// The uplink is told to stop when no reading can follow any more.
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { a.uplink.run(sending) })
	a.sampler.run(ctx)
	stop()
	wg.Wait()
	return a.Close()
}

// Close closes the queue of an agent that is not to run.
func (a *Agent) Close() error {
	if err := a.queue.close(); err != nil {
		return &fault.Error{Op: "edgeruntime.Close", Kind: fault.KindOf(err), Err: err}
	}
	return nil
}

// Status says how the agent does.
func (a *Agent) Status() Status {
	s := Status{Device: a.config.Device}
	a.link.fill(&s)
	s.Queue, s.Lost = a.queue.state(a.config.Now())
	s.Queue.fits(max(a.sampler.rate(), a.queue.rate()))
	return s
}
