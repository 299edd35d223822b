package audit

// Indexed is how many times a complete segment was read for the ids in it.
func (t *Trail) Indexed() int {
	t.work.Lock()
	defer t.work.Unlock()
	return t.indexed
}
