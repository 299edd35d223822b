package journal_test

import (
	"context"
	"fmt"
	"os"

	"selvedge.dev/sdk/journal"
)

// A producer is answered when its records are durable. A consumer reads from
// its cursor on, acts, and only then commits.
func Example() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	j, err := journal.Open(dir, journal.Options{})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	c, err := j.Cursor("printer", journal.Oldest)
	if err != nil {
		panic(err)
	}
	if _, err := j.Append(ctx, []byte("hello"), []byte("world")); err != nil {
		panic(err)
	}

	var b journal.Batch
	for c.Position() < j.End() {
		if err := j.Wait(ctx, c.Position()); err != nil {
			panic(err)
		}
		if err := j.Read(c.Position(), &b, 1<<20); err != nil {
			panic(err)
		}
		for i := range b.Len() {
			fmt.Println(b.At(i).Offset, string(b.At(i).Data))
		}
		if err := c.Commit(b.Next()); err != nil {
			panic(err)
		}
	}
	if err := j.Close(); err != nil {
		panic(err)
	}
	// Output:
	// 0 hello
	// 1 world
}
