package object

import (
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"selvedge.dev/sdk/fault"
)

// Schema is the table of the store, for sqlite.Open.
const Schema = `
CREATE TABLE IF NOT EXISTS cluster_objects (
	version INTEGER NOT NULL,
	grp     TEXT NOT NULL,
	kind    TEXT NOT NULL,
	ns      TEXT NOT NULL,
	name    TEXT NOT NULL,
	body    BLOB NOT NULL,
	PRIMARY KEY (grp, kind, ns, name)
) STRICT;
CREATE TABLE IF NOT EXISTS cluster_version (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	version INTEGER NOT NULL
) STRICT;`

// Options configures a store.
type Options struct {
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// MaxObjects bounds the objects of one namespace, so that one tenant cannot
	// take the memory of all; 10,000 by default.
	MaxObjects int
	// MaxBytes bounds one object; 1 MiB by default.
	MaxBytes int
	// Seal encrypts the objects of sealed kinds on disk; they cannot be had
	// without it.
	Seal cipher.AEAD
	// History is how many changes can be resumed from; 4096 by default.
	History int
}

// Store keeps the objects. All methods may be called concurrently; objects
// that go in or come out are the caller's own copies.
type Store struct {
	o     Options
	db    *sql.DB
	kinds []*Kind
	byKey map[Key]*Kind

	mu      sync.RWMutex
	version int64
	objects map[Key]map[name]entry
	counts  map[string]int
	// history are the last changes, the oldest first.
	history []Event
	// changed is closed at the next change.
	changed chan struct{}
}

// name is where in its kind an object is.
type name struct{ namespace, name string }

// entry is a stored object, which is not changed any more.
type entry struct {
	object  Object
	version int64
}

// Open opens the store in a database that has Schema, which stays the caller's
// to close. Objects of kinds that are not given are kept, and not seen.
func Open(ctx context.Context, db *sql.DB, kinds []*Kind, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.MaxObjects, o.MaxBytes, o.History = cmp.Or(o.MaxObjects, 10_000), cmp.Or(o.MaxBytes, 1<<20), cmp.Or(o.History, 4096)
	s := &Store{o: o, db: db, kinds: kinds, byKey: map[Key]*Kind{}, objects: map[Key]map[name]entry{}, counts: map[string]int{}, changed: make(chan struct{})}
	for _, k := range kinds {
		if k.Sealed && o.Seal == nil {
			return nil, fmt.Errorf("open the cluster's objects: there is no key to seal %s with", k)
		}
		s.byKey[k.Key()], s.objects[k.Key()] = k, map[name]entry{}
	}
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("open the cluster's objects: %w", err)
	}
	return s, nil
}

// load reads everything.
func (s *Store) load(ctx context.Context) error {
	if err := s.db.QueryRowContext(ctx, "SELECT version FROM cluster_version").Scan(&s.version); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	rows, err := s.db.QueryContext(ctx, "SELECT version, grp, kind, ns, name, body FROM cluster_objects")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // its error is that of Err
	for rows.Next() {
		var version int64
		var k Key
		var n name
		var body []byte
		if err := rows.Scan(&version, &k.Group, &k.Name, &n.namespace, &n.name, &body); err != nil {
			return err
		}
		if s.objects[k] == nil {
			continue
		}
		body, err := s.unseal(k, n, body)
		if err != nil {
			return fmt.Errorf("%s %s/%s: %w", k.Name, n.namespace, n.name, err)
		}
		o, err := Parse(body)
		if err != nil {
			return fmt.Errorf("%s %s/%s: %w", k.Name, n.namespace, n.name, err)
		}
		s.objects[k][n] = entry{o, version}
		s.counts[n.namespace]++
	}
	return rows.Err()
}

// Kinds are the kinds of the store.
func (s *Store) Kinds() []*Kind { return s.kinds }

// Kind is the kind of a key, nil if there is none.
func (s *Store) Kind(k Key) *Kind { return s.byKey[k] }

// Get is one object, or NotFound.
func (s *Store) Get(k Key, namespace, n string) (Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.objects[k][name{namespace, n}]
	if !ok {
		return nil, s.notFound(k, n)
	}
	return e.object.Clone(), nil
}

// Label is one label of an object, "" if it has none of that name, or NotFound:
// Get without a copy, for what is asked at every request.
func (s *Store) Label(k Key, namespace, n, label string) (string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.objects[k][name{namespace, n}]
	if !ok {
		return "", s.notFound(k, n)
	}
	return e.object.Labels()[label], nil
}

// notFound is the error for what is not there, in the words of Kubernetes.
func (s *Store) notFound(k Key, n string) error {
	what := k.Name
	if kind := s.byKey[k]; kind != nil {
		what = kind.String()
	}
	return &fault.Error{Op: "object.Get", Name: n, Kind: fault.NotFound, Err: fmt.Errorf("%s %q not found", what, n)}
}

// Query selects the objects of one kind.
type Query struct {
	Kind Key
	// Namespace is "" for all.
	Namespace string
	Selector  Selector
}

// matches reports whether the query selects o.
func (q Query) matches(o Object) bool {
	return (q.Namespace == "" || q.Namespace == o.Namespace()) && q.Selector.Matches(o)
}

// List are the objects that q selects, by namespace and name, and the version
// of the store that they are of.
func (s *Store) List(q Query) ([]Object, int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []Object{}
	for _, o := range s.sorted(q.Kind) {
		if q.matches(o) {
			out = append(out, o.Clone())
		}
	}
	return out, s.version
}

// Create stores a new object: Exists if there is one of the name. A name is
// made from metadata.generateName if it has none.
func (s *Store) Create(ctx context.Context, o Object) (Object, error) {
	return s.write(ctx, o, func(k *Kind, o, old Object) (Object, error) {
		if old != nil {
			return nil, &fault.Error{Op: "object.Create", Name: o.Name(), Kind: fault.Exists, Err: fmt.Errorf("%s %q already exists", k, o.Name())}
		}
		if o.ResourceVersion() != "" {
			return nil, &fault.Error{Op: "object.Create", Name: o.Name(), Kind: fault.Invalid, Field: "metadata.resourceVersion", Err: errors.New("resourceVersion should not be set on objects to be created")}
		}
		if s.counts[o.Namespace()] >= s.o.MaxObjects {
			return nil, &fault.Error{Op: "object.Create", Name: o.Name(), Kind: fault.Exhausted, Reason: "TOO_MANY_OBJECTS", Err: fmt.Errorf("namespace %q has %d objects already", o.Namespace(), s.o.MaxObjects)}
		}
		o.Set(uuid.NewString(), "metadata", "uid")
		o.Set(Time(s.o.Now()), "metadata", "creationTimestamp")
		o.Set(json.Number("1"), "metadata", "generation")
		o.Unset("metadata", "deletionTimestamp")
		return o, nil
	})
}

// Update replaces an object but for its status, if its kind has one. It is a
// Conflict if the object names another resource version than that stored.
func (s *Store) Update(ctx context.Context, o Object) (Object, error) {
	return s.write(ctx, o, func(k *Kind, o, old Object) (Object, error) {
		if err := s.current(k, o, old); err != nil {
			return nil, err
		}
		keep(o, old, "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
		if k.Status {
			delete(o, "status")
			if st, ok := old["status"]; ok {
				o["status"] = st
			}
		}
		if k.generation(old, o) {
			o.Set(json.Number(strconv.FormatInt(old.Generation()+1, 10)), "metadata", "generation")
		}
		return o, nil
	})
}

// UpdateStatus replaces the status of an object and nothing else.
func (s *Store) UpdateStatus(ctx context.Context, o Object) (Object, error) {
	return s.write(ctx, o, func(k *Kind, o, old Object) (Object, error) {
		if err := s.current(k, o, old); err != nil {
			return nil, err
		}
		out := old.Clone()
		delete(out, "status")
		if st, ok := o["status"]; ok {
			out["status"] = st
		}
		return out, nil
	})
}

// keep has o have the metadata of old.
func keep(o, old Object, fields ...string) {
	for _, f := range fields {
		if v := old.Get("metadata", f); v != nil {
			o.Set(v, "metadata", f)
		} else {
			o.Unset("metadata", f)
		}
	}
}

// current refuses an update of what is not there, is another one by now, or
// was changed meanwhile.
func (s *Store) current(k *Kind, o, old Object) error {
	if old == nil {
		return s.notFound(k.Key(), o.Name())
	}
	if v := o.ResourceVersion(); v != "" && v != old.ResourceVersion() {
		return &fault.Error{
			Op: "object.Update", Name: o.Name(), Kind: fault.Conflict,
			Err: fmt.Errorf("operation cannot be fulfilled on %s %q: the object has been modified; please apply your changes to the latest version and try again", k, o.Name()),
		}
	}
	if uid := o.UID(); uid != "" && uid != old.UID() {
		return &fault.Error{Op: "object.Update", Name: o.Name(), Kind: fault.Conflict, Err: fmt.Errorf("the UID in the object (%s) is not that of the one stored (%s)", uid, old.UID())}
	}
	return nil
}

// write stores what change makes of an object and the one stored before. What
// changes nothing is not written and keeps its version.
func (s *Store) write(ctx context.Context, o Object, change func(k *Kind, o, old Object) (Object, error)) (Object, error) {
	k := s.byKey[Key{o.Group(), o.KindName()}]
	if k == nil {
		return nil, &fault.Error{Op: "object.Write", Name: o.Name(), Kind: fault.NotFound, Err: fmt.Errorf("no kind %q in %q", o.KindName(), o.APIVersion())}
	}
	o = o.Clone()
	if prefix := o.Text("metadata", "generateName"); o.Name() == "" && prefix != "" {
		o.Set(prefix+uuid.NewString()[:8], "metadata", "name")
	}
	if err := k.check(o); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := name{o.Namespace(), o.Name()}
	old := s.objects[k.Key()][at].object
	made, err := change(k, o, old.Clone())
	if err != nil {
		return nil, err
	}
	if old != nil && made.Deleting() && len(made.finalizers()) == 0 {
		return made, s.commit(ctx, s.removal(old))
	}
	if old != nil {
		made.Set(old.ResourceVersion(), "metadata", "resourceVersion")
		if Same(old, made) {
			return made, nil
		}
	}
	typ := Modified
	if old == nil {
		typ = Added
	}
	batch := []Event{{Type: typ, Object: made}}
	if err := s.commit(ctx, batch); err != nil {
		return nil, err
	}
	return batch[0].Object.Clone(), nil
}

// Preconditions are what must hold for a deletion; "" holds.
type Preconditions struct{ UID, ResourceVersion string }

// Delete removes an object and what it owned alone; with finalizers it is only
// marked, and goes with the last of them. It returns the object as it was.
func (s *Store) Delete(ctx context.Context, k Key, namespace, n string, pre Preconditions) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.objects[k][name{namespace, n}]
	if !ok {
		return nil, s.notFound(k, n)
	}
	o := e.object
	if (pre.UID != "" && pre.UID != o.UID()) || (pre.ResourceVersion != "" && pre.ResourceVersion != o.ResourceVersion()) {
		return nil, &fault.Error{Op: "object.Delete", Name: n, Kind: fault.Conflict, Err: fmt.Errorf("the preconditions (uid %q, resourceVersion %q) do not hold: it has %q, %q", pre.UID, pre.ResourceVersion, o.UID(), o.ResourceVersion())}
	}
	if len(o.finalizers()) > 0 {
		if o.Deleting() {
			return o.Clone(), nil
		}
		marked := o.Clone()
		marked.Set(Time(s.o.Now()), "metadata", "deletionTimestamp")
		batch := []Event{{Type: Modified, Object: marked}}
		if err := s.commit(ctx, batch); err != nil {
			return nil, err
		}
		return batch[0].Object.Clone(), nil
	}
	return o.Clone(), s.commit(ctx, s.removal(o))
}

// removal is that an object goes, and what has no owner then, and so on. Those
// that are held by finalizers are only marked. The caller holds the lock.
func (s *Store) removal(o Object) []Event {
	live := map[string]bool{}
	for _, of := range s.objects {
		for _, e := range of {
			live[e.object.UID()] = true
		}
	}
	batch, marked := []Event{{Type: Deleted, Object: o.Clone()}}, map[string]bool{}
	delete(live, o.UID())
	for again := true; again; {
		again = false
		for _, k := range s.kinds {
			for _, x := range s.sorted(k.Key()) {
				owners := x.Owners()
				if !live[x.UID()] || marked[x.UID()] || x.Deleting() || len(owners) == 0 || slices.ContainsFunc(owners, func(w Owner) bool { return live[w.UID] }) {
					continue
				}
				e := Event{Type: Deleted, Object: x.Clone()}
				if len(x.finalizers()) > 0 {
					e.Type, marked[x.UID()] = Modified, true
					e.Object.Set(Time(s.o.Now()), "metadata", "deletionTimestamp")
				} else {
					delete(live, x.UID())
					again = true
				}
				batch = append(batch, e)
			}
		}
	}
	return batch
}

// sorted are the stored objects of a kind, by namespace and name.
func (s *Store) sorted(k Key) []Object {
	var out []Object
	for _, e := range s.objects[k] {
		out = append(out, e.object)
	}
	slices.SortFunc(out, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Namespace(), b.Namespace()), cmp.Compare(a.Name(), b.Name()))
	})
	return out
}

// commit writes a batch of changes, numbers them, and tells the watchers. The
// caller holds the lock.
func (s *Store) commit(ctx context.Context, batch []Event) error {
	version := s.version
	bodies := make([][]byte, len(batch))
	for i := range batch {
		version++
		batch[i].Version = version
		batch[i].Object.Set(strconv.FormatInt(version, 10), "metadata", "resourceVersion")
		body, err := json.Marshal(batch[i].Object)
		if err != nil {
			return fmt.Errorf("write object %s: %w", batch[i].Object.Name(), err)
		}
		if len(body) > s.o.MaxBytes {
			return &fault.Error{Op: "object.Write", Name: batch[i].Object.Name(), Kind: fault.TooLarge, Err: fmt.Errorf("the object has %d bytes; at most %d are kept", len(body), s.o.MaxBytes)}
		}
		bodies[i] = s.seal(batch[i].Object, body)
	}
	if err := s.persist(ctx, batch, bodies, version); err != nil {
		return fmt.Errorf("write object %s: %w", batch[0].Object.Name(), err)
	}
	s.version = version
	for i := range batch {
		o := batch[i].Object
		k, at := Key{o.Group(), o.KindName()}, name{o.Namespace(), o.Name()}
		batch[i].before = s.objects[k][at].object
		if batch[i].Type == Deleted {
			delete(s.objects[k], at)
			s.counts[at.namespace]--
			continue
		}
		if _, was := s.objects[k][at]; !was {
			s.counts[at.namespace]++
		}
		s.objects[k][at] = entry{o, batch[i].Version}
	}
	s.history = append(s.history, batch...)
	if over := len(s.history) - s.o.History; over > 0 {
		s.history = slices.Clone(s.history[over:])
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// persist writes a batch to the database in one transaction.
func (s *Store) persist(ctx context.Context, batch []Event, bodies [][]byte, version int64) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for i, e := range batch {
		o := e.Object
		if e.Type == Deleted {
			_, err = tx.ExecContext(ctx, "DELETE FROM cluster_objects WHERE grp = ? AND kind = ? AND ns = ? AND name = ?", o.Group(), o.KindName(), o.Namespace(), o.Name())
		} else {
			_, err = tx.ExecContext(ctx, "INSERT INTO cluster_objects (version, grp, kind, ns, name, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body",
				e.Version, o.Group(), o.KindName(), o.Namespace(), o.Name(), bodies[i])
		}
		if err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO cluster_version (one, version) VALUES (1, ?) ON CONFLICT DO UPDATE SET version = excluded.version", version); err != nil {
		return err
	}
	return tx.Commit()
}

// sealed begins a body that is encrypted; JSON does not begin so.
const sealed = 0

// place is what a sealed body is bound to, so that it is of no use elsewhere.
func place(k Key, n name) []byte {
	return []byte(k.Group + "/" + k.Name + "/" + n.namespace + "/" + n.name)
}

// seal encrypts the body of an object of a sealed kind.
func (s *Store) seal(o Object, body []byte) []byte {
	k := Key{o.Group(), o.KindName()}
	if !s.byKey[k].Sealed {
		return body
	}
	nonce := make([]byte, s.o.Seal.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return s.o.Seal.Seal(append([]byte{sealed}, nonce...), nonce, body, place(k, name{o.Namespace(), o.Name()}))
}

// unseal decrypts what seal encrypted.
func (s *Store) unseal(k Key, n name, body []byte) ([]byte, error) {
	if len(body) == 0 || body[0] != sealed {
		return body, nil
	}
	if s.o.Seal == nil || len(body) < 1+s.o.Seal.NonceSize() {
		return nil, errors.New("it is sealed, and there is no key")
	}
	nonce := body[1 : 1+s.o.Seal.NonceSize()]
	plain, err := s.o.Seal.Open(nil, nonce, body[1+len(nonce):], place(k, n))
	if err != nil {
		return nil, errors.New("it was sealed with another key")
	}
	return plain, nil
}

// Namespaces are those that have objects.
func (s *Store) Namespaces() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for ns, n := range s.counts {
		if n > 0 && ns != "" {
			out = append(out, ns)
		}
	}
	slices.Sort(out)
	return out
}
