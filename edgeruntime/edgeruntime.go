// Package edgeruntime is what runs on a device: an [Agent] reads the machine
// at an interval, makes each reading one CloudEvent, puts it into a queue on
// disk, and posts the queue to the platform in batches.
//
// The one invariant: an event that was put into the queue stays there until
// the platform has answered for it, or it is counted as lost with a reason. So
// delivery is at least once, in order, with one batch in flight; an event keeps
// its id however often it is sent, and the platform deduplicates by it.
//
// # Outages
//
// An outage may last for ever. The queue fills up to its bound and then drops
// its oldest events. Waits between attempts double from one second to one
// minute, at random below that; what the platform asks for by Retry-After comes
// on top. A key that the platform refuses keeps everything too, and is tried
// again slowly. A full disk takes no readings; the agent goes on when there is
// room again.
//
// # Losses
//
// Nothing is lost silently. The counts are on disk, survive a restart, are in
// every reading as "queue/lost/REASON", and in [Status]:
//
//   - EVICTED: the queue was full and this was the oldest;
//   - CORRUPT: the disk gave back something else than was written;
//   - UNWRITTEN: the disk did not take the reading;
//   - REJECTED/REASON: the platform said that the event can never be accepted,
//     and why.
//
// # Concurrency
//
// Status and Ingress may be called from any goroutine; Run is called once. A folder belongs
// to one agent: New fails while another one has it open.
//
// Other programs on the device may use the same queue: see [Agent.Ingress].
//
// The package knows no operating system: figures come from a [Sensor], of which
// host has the real one.
package edgeruntime

import (
	"context"
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
