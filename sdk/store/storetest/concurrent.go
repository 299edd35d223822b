package storetest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// The size of the tests with many writers.
const (
	writers   = 16
	accounts  = 8
	perWriter = 25
)

// testTransfers is transfers on one driver.
func testTransfers(t *testing.T, k *kit) { transfers(t, []*kit{k}) }

// transfers has writers move money between accounts, count the moves, and claim
// a number for each: the sum stays, and nothing is lost or done twice.
func transfers(t *testing.T, ks []*kit) {
	var open []store.Write
	for i := range accounts {
		open = append(open, put(nil, account(i), "100"))
	}
	ks[0].commit(open...)
	var moved, taken atomic.Int64
	var all sync.WaitGroup
	for n := range writers {
		k := ks[n%len(ks)]
		all.Go(func() {
			for done := 0; done < perWriter && !t.Failed(); {
				err := transfer(k, int(moved.Load()))
				switch {
				case err == nil:
					moved.Add(1)
					done++
				case fault.ReasonOf(err) == "ALREADY_TAKEN":
					taken.Add(1)
				case fault.KindOf(err) != fault.Conflict:
					t.Errorf("transfer: %v", err)
				}
			}
		})
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for moved.Load() < writers*perWriter && !t.Failed() {
			if sum := balance(t, ks[len(ks)-1]); sum != accounts*100 {
				t.Errorf("a snapshot has %d", sum)
			}
		}
	}()
	all.Wait()
	<-watched
	require.Equal(t, accounts*100, balance(t, ks[0]))
	require.Equal(t, map[string]int64{"moves": writers * perWriter}, ks[0].counters("moves"))
	require.Equal(t, int64(writers*perWriter), moved.Load())
	// One change opens each account, two and one number are of each transfer.
	changes := ks[0].changes(0)
	require.Len(t, changes, accounts+3*writers*perWriter)
	version := map[resource.Name]store.Seq{}
	for i, c := range changes {
		require.Equal(t, store.Seq(i+1), c.Seq, "the numbers of changes have no gaps")
		require.Equal(t, version[c.Name], c.BeforeVersion, "each change is of what the one before left")
		version[c.Name] = c.Seq
	}
}

// account is the name of an account.
func account(i int) resource.Name { return resource.Name(fmt.Sprint("accounts/", i)) }

// transfer moves 1 from one account to another, and claims a number.
func transfer(k *kit, number int) error {
	from := rand.IntN(accounts)
	to := (from + 1 + rand.IntN(accounts-1)) % accounts
	s, _, err := k.Snapshot(k.ctx)
	if err != nil {
		return err
	}
	recs, err := s.Get(k.ctx, thing, []resource.Name{account(from), account(to)})
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	b := batch(
		put(recs[0], account(from), add(recs[0], -1)),
		put(recs[1], account(to), add(recs[1], 1)),
		put(nil, resource.Name("moves/"+newID()), "1"),
	)
	b.Writes[2].Claim = []store.Claim{{Index: "number", Value: []byte(strconv.Itoa(number))}}
	b.Counts = []store.Count{{Key: "moves", Delta: 1, Max: writers * perWriter}}
	_, err = k.Commit(k.ctx, b)
	return err
}

// add is the body of an account with that much more.
func add(rec *store.Record, n int) string {
	is, _ := strconv.Atoi(string(rec.Body))
	return strconv.Itoa(is + n)
}

// balance is the sum of all accounts in a snapshot.
func balance(t *testing.T, k *kit) int {
	s, _, err := k.Snapshot(k.ctx)
	if err != nil {
		t.Errorf("balance: %v", err)
		return 0
	}
	sum := 0
	err = s.Scan(k.ctx, store.Scan{Type: thing, From: "accounts/", To: "accounts0"}, func(rec *store.Record) bool {
		n, _ := strconv.Atoi(string(rec.Body))
		sum += n
		return true
	})
	if err != nil {
		t.Errorf("balance: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("balance: %v", err)
	}
	return sum
}

// testFollowers is followers on one driver.
func testFollowers(t *testing.T, k *kit) { followers(t, []*kit{k}) }

// followers has readers follow the changes while writers write: each sees every
// change once, in the order.
func followers(t *testing.T, ks []*kit) {
	const total = writers * perWriter
	var all sync.WaitGroup
	seen := make([][]store.Change, 4)
	for i := range seen {
		k := ks[i%len(ks)]
		all.Go(func() {
			var err error
			seen[i], err = follow(k, func(got []store.Change) bool { return len(got) >= 2*total })
			if err != nil {
				t.Errorf("follow: %v", err)
			}
		})
	}
	for n := range writers {
		k := ks[n%len(ks)]
		all.Go(func() {
			for i := range perWriter {
				name := resource.Name(fmt.Sprintf("w%d-%d", n, i))
				quiet := put(nil, name+"q", "1")
				quiet.Quiet = true
				if _, err := k.Commit(k.ctx, batch(put(nil, name+"a", "1"), quiet, put(nil, name+"b", "2"))); err != nil {
					t.Errorf("commit: %v", err)
				}
			}
		})
	}
	all.Wait()
	want := ks[0].changes(0)
	require.Len(t, want, 2*total)
	names := map[resource.Name]bool{}
	for i, c := range want {
		require.Equal(t, i%2 == 1, c.Last, "the changes of a batch are together")
		require.Equal(t, want[i/2*2].Name[:len(c.Name)-1], c.Name[:len(c.Name)-1])
		names[c.Name] = true
	}
	require.Len(t, names, 2*total)
	for _, s := range seen {
		require.Equal(t, want, s)
	}
}

// testRefusedInGroup commits good and bad batches at once: the bad ones do not
// disturb the good ones.
func testRefusedInGroup(t *testing.T, k *kit) {
	k.create("taken", "1")
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			for i := range perWriter {
				name := resource.Name(fmt.Sprintf("w%d-%d", n, i))
				b := batch(put(nil, name, "1"))
				if (n+i)%2 == 0 {
					b.Writes = append(b.Writes, put(nil, "taken", "2"))
				}
				if (n+i)%5 == 0 {
					b.Ranges = []store.Range{{Scan: store.Scan{Type: thing, From: name, To: name + "\x00"}}}
				}
				_, err := k.Commit(k.ctx, b)
				if (err != nil) != ((n+i)%2 == 0) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	all.Wait()
	require.Len(t, k.names(store.Scan{Type: thing}), 1+writers*perWriter/2)
	require.Equal(t, "1", string(k.get("taken").Body))
}

// Poison commits batches at once of which the database refuses those with an
// object whose body is "poison", as the caller has set it to: they fail, and the
// others do not.
func Poison(t testing.TB, d store.Driver) {
	t.Helper()
	k := newKit(t, d)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			for i := range perWriter {
				name, body := resource.Name(fmt.Sprintf("w%d-%d", n, i)), "good"
				if (n+i)%7 == 0 {
					body = "poison"
				}
				_, err := k.Commit(k.ctx, batch(put(nil, name+"a", "good"), put(nil, name+"b", body)))
				if (err != nil) != (body == "poison") {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	all.Wait()
	for _, name := range k.names(store.Scan{Type: thing}) {
		var n, i int
		_, err := fmt.Sscanf(name, "w%d-%d", &n, &i)
		require.NoError(t, err)
		require.NotZero(t, (n+i)%7, "a part of what was refused")
	}
	for i, c := range k.changes(0) {
		require.Equal(t, store.Seq(i+1), c.Seq)
	}
}
