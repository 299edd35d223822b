package scheduler

import "selvedge.dev/sdk/resource"

// entry is that a timer may be due at a time, in Unix milliseconds. Whether it
// is, the timer says: one that was changed since has another entry.
type entry struct {
	due  int64
	name resource.Name
}

// queue is a binary heap of entries, the first due at the top. At 24 bytes and
// the name, a million timers are some 70 MB.
type queue []entry

// push adds an entry.
func (q *queue) push(e entry) {
	*q = append(*q, e)
	for i := len(*q) - 1; i > 0; {
		up := (i - 1) / 2
		if (*q)[up].due <= (*q)[i].due {
			return
		}
		(*q)[up], (*q)[i] = (*q)[i], (*q)[up]
		i = up
	}
}

// pop takes the first entry. There must be one.
func (q *queue) pop() entry {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], entry{}
	*q = h[:last]
	q.sink(0)
	return first
}

// sink moves the entry at i down to its place.
func (q queue) sink(i int) {
	for {
		least := i
		for _, down := range [...]int{2*i + 1, 2*i + 2} {
			if down < len(q) && q[down].due < q[least].due {
				least = down
			}
		}
		if least == i {
			return
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
}

// order makes a heap of entries in any order.
func (q queue) order() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
}
