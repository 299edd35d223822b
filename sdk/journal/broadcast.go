package journal

// broadcast wakes everybody who waits for something to change. Its owner's
// lock guards it.
type broadcast struct{ ch chan struct{} }

// wait returns a channel that the next send closes.
func (b *broadcast) wait() <-chan struct{} {
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// send wakes all who wait.
func (b *broadcast) send() {
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
