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
// Status and Ingress may be called from any goroutine; Run is called once. A
// folder belongs to one agent: New fails while another one has it open.
//
// # What it does not do
//
// It knows no operating system: figures come from a [Sensor], of which package
// host has the real one. It does not correct a wrong wall clock: readings bear
// the time that the machine had, though no wait, no order and no id depends on
// it. Other programs on the device may use the queue by [Agent.Ingress].
package edgeruntime
