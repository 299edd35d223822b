package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
)

// Cluster says where the parts of a VictoriaMetrics cluster are reached.
type Cluster struct {
	// Write is the address of a tenant at a vminsert,
	// "http://HOST:8480/insert/ACCOUNT[:PROJECT]/prometheus".
	Write string
	// Read is the address of the same tenant at vmselect,
	// "http://HOST:8481/select/ACCOUNT[:PROJECT]/prometheus". There may be
	// several behind it.
	Read string
	// Delete is where vmselect deletes,
	// "http://HOST:8481/delete/ACCOUNT[:PROJECT]/prometheus"; "" is Read with
	// /delete/ in place of /select/.
	Delete string
	// Nodes are the addresses of every vmstorage, "http://HOST:8482", and of
	// the vminsert that Write is of, "http://HOST:8480".
	Nodes []string
}

// ConnectCluster makes a store over a VictoriaMetrics cluster, version 1.150 or
// later, as Connect does over a single server; and what Remote says of a server
// holds for each part of it. What is different:
//
//   - A vminsert acknowledges what it has in memory only, and sends it on within
//     a quarter of a second unless a vmstorage is slow or away. A Select waits
//     for that after an Append. Sync has it say that it has sent all, which it
//     tells for all that write through it: so each Remote needs a vminsert of its
//     own. It must run without -dropSamplesOnOverload, and with a
//     -replicationFactor of one or two.
//   - Only the nodes say what they have in files, and make it visible and
//     snapshots of it. While one of Nodes is away, Sync is Unavailable, also with
//     replication, and so is Select after an Append; and points that went to a
//     vmstorage that is none of them would count as durable when they are not.
//   - An answer that lacks what one vmstorage has is never taken: vmselect is
//     told to deny it, and one that is marked as partial nevertheless is
//     Unavailable.
//   - Aligning is pushed down for ALIGN_MAX only, since the flags of every
//     vmselect behind the address cannot be asked.
//   - A series that was deleted, and then gets points of several months within a
//     quarter of a second, may lose those of the older months: a vminsert hands
//     them on together, which Append keeps apart from a single server.
//   - ServerSnapshot makes one on every vmstorage.
//
// A single server behind a proxy that has the paths of a cluster is one too; its
// node is the server.
func ConnectCluster(c Cluster, options Options) (*Remote, error) {
	var p parser
	write, wrote := p.tenant("write", c.Write, "insert")
	read, reads := p.tenant("read", c.Read, "select")
	if c.Delete == "" && p.err == nil {
		at := strings.LastIndex(c.Read, "/select/")
		c.Delete = c.Read[:at] + "/delete/" + c.Read[at+len("/select/"):]
	}
	remove, deletes := p.tenant("delete", c.Delete, "delete")
	if p.err == nil && (wrote != reads || reads != deletes) {
		p.fail("read", fmt.Errorf("the tenants are different: it writes to %s, reads of %s and deletes of %s", wrote, reads, deletes))
	}
	if p.err == nil && len(c.Nodes) == 0 {
		p.fail("nodes", errors.New("want the address of every vmstorage and of the vminsert: nobody else says what is on disk"))
	}
	var nodes []*node
	for _, address := range c.Nodes {
		u := p.parse("nodes", address)
		if u != nil && strings.Contains(u.Path, "/insert/") {
			p.fail("nodes", errors.New("want http://HOST:PORT, without a tenant"))
		}
		nodes = append(nodes, &node{url: u})
	}
	if p.err != nil {
		return nil, p.err
	}
	r := newRemote(options)
	r.write, r.read, r.remove, r.nodes, r.cluster = write, read, remove, nodes, true
	return r, nil
}

// parser reads addresses, and keeps the first error.
type parser struct{ err error }

// fail notes an error of a field.
func (p *parser) fail(field string, err error) {
	if p.err == nil {
		p.err = &fault.Error{
			Op: "tsdb/vm.Connect", Kind: fault.Invalid, Field: field, Err: fmt.Errorf("address of VictoriaMetrics: %w", err),
		}
	}
}

// parse reads an address. What it says of a wrong one is without it, since there
// may be a password in it.
func (p *parser) parse(field, address string) *url.URL {
	u, err := url.Parse(address)
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		err = errors.New("want http://HOST:PORT or https://HOST:PORT")
	}
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err
		}
		p.fail(field, err)
		return nil
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u
}

// tenantPath is the end of an address of a cluster: what is done, the account,
// the project if it is not 0, and the protocol.
var tenantPath = regexp.MustCompile(`/(insert|select|delete)/([0-9]+)(?::([0-9]+))?/prometheus$`)

// tenant reads an address that a cluster has for what is done, and returns its
// tenant too.
func (p *parser) tenant(field, address, what string) (u *url.URL, tenant string) {
	if u = p.parse(field, address); u == nil {
		return nil, ""
	}
	found := tenantPath.FindStringSubmatch(u.Path)
	if found == nil || found[1] != what {
		p.fail(field, fmt.Errorf("want http://HOST:PORT/%s/ACCOUNT/prometheus or …/%s/ACCOUNT:PROJECT/prometheus", what, what))
		return nil, ""
	}
	account, err := strconv.ParseUint(found[2], 10, 32)
	project := uint64(0)
	if err == nil && found[3] != "" {
		project, err = strconv.ParseUint(found[3], 10, 32)
	}
	if err != nil {
		p.fail(field, errors.New("an account and a project are numbers below 2^32"))
		return nil, ""
	}
	return u, fmt.Sprintf("%d:%d", account, project)
}

// node is a part of a cluster that keeps points, or hands them on; or a single
// server, which keeps them at once.
type node struct {
	url *url.URL
	// copies is to how many vmstorages it sends a row: 0 if it is no vminsert, or
	// until it was asked.
	copies atomic.Int64
}

// inserts reports whether it is a vminsert.
func (n *node) inserts() bool { return n.copies.Load() > 0 }

// What the nodes tell of themselves.
const (
	// forwardedMetric counts the rows that a vminsert was given for a vmstorage,
	// sentMetric the copies that it sent there, and lackingMetric the rows of
	// which it could send fewer copies than it should.
	forwardedMetric = "vm_rpc_rows_pushed_total"
	sentMetric      = "vm_rpc_rows_sent_total"
	lackingMetric   = "vm_rpc_rows_incompletely_replicated_total"
	// droppedMetric and refusedMetric count rows that are lost.
	droppedMetric = "vm_rpc_rows_dropped_on_overload_total"
	refusedMetric = "vm_rpc_rows_dropped_on_unsupported_rpc"
	// storedMetric is what a vmstorage and a single server have, and
	// insertedMetric a vminsert and a single server.
	storedMetric   = `vm_pending_rows{type="storage"}`
	insertedMetric = "vm_rows_inserted_total"
)

const (
	// forwardPause is how long a vminsert takes to send on what it was given: it
	// does so every 200 ms, and up to a tenth later.
	forwardPause = 350 * time.Millisecond
	// forwardTries is how often it is asked whether it has sent all: for half a
	// minute, in which a cluster finds out that one of its nodes is away.
	forwardTries = 30
	// pageAge is how old a page of metrics may be, and a little more: a server
	// makes it anew after a second.
	pageAge = time.Second + 50*time.Millisecond
)

// each calls f for all nodes at once.
func (r *Remote) each(f func(i int, n *node) error) error {
	if len(r.nodes) == 1 {
		return f(0, r.nodes[0])
	}
	errs := make([]error, len(r.nodes))
	var all sync.WaitGroup
	for i, n := range r.nodes {
		all.Go(func() { errs[i] = f(i, n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// page are the metrics of a node, as they were at since or later.
func (r *Remote) page(ctx context.Context, n *node, since time.Time) ([]byte, error) {
	if err := pause(ctx, time.Until(since.Add(pageAge))); err != nil {
		return nil, err
	}
	return r.ask(ctx, n, "/metrics", nil)
}

// learn finds out what the nodes of a cluster are, until they all have told.
func (r *Remote) learn(ctx context.Context) error {
	if r.learned.Load() {
		return nil
	}
	var inserts, stores, alone atomic.Int64
	err := r.each(func(_ int, n *node) error {
		text, err := r.ask(ctx, n, "/metrics", nil)
		if err != nil {
			return err
		}
		switch _, has := total(text, insertedMetric); {
		case bytes.Contains(text, []byte(storedMetric)):
			stores.Add(1)
			if has {
				alone.Add(1)
			}
		case has:
			inserts.Add(1)
			return r.learnCopies(ctx, n, text)
		default:
			return unavailable("/metrics", fmt.Errorf("%s is neither a vmstorage nor a vminsert", n.url.Host))
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case stores.Load() == 0:
		return unavailable("/metrics", errors.New("none of the nodes is a vmstorage"))
	case inserts.Load() == 0 && alone.Load() < stores.Load():
		return unavailable("/metrics", errors.New("none of the nodes is a vminsert"))
	}
	r.forwards.Store(inserts.Load() > 0)
	r.learned.Store(true)
	return nil
}

// forward returns when a vminsert has sent on what it was given before the call.
func (r *Remote) forward(ctx context.Context, n *node) error {
	since := time.Now()
	for range forwardTries {
		text, err := r.page(ctx, n, since)
		if err != nil {
			return err
		}
		sum := func(name string) int64 { v, _ := total(text, name); return int64(v) }
		if lost := sum(droppedMetric) + sum(refusedMetric); lost > 0 {
			return unavailable("/metrics", fmt.Errorf("%s has dropped %d rows", n.url.Host, lost))
		}
		// A row whose copy found no place is counted once as lacking.
		if sum(sentMetric)+sum(lackingMetric) >= n.copies.Load()*sum(forwardedMetric) {
			return nil
		}
		since = time.Now()
	}
	return unavailable("/metrics", fmt.Errorf("%s does not get rid of its rows", n.url.Host))
}

// replicationFlag is the flag that says how many copies a vminsert makes.
var replicationFlag = regexp.MustCompile(`(?m)^-replicationFactor="(\d+)"`)

// addressOf finds the vmstorages that a vminsert knows in its metrics.
var addressOf = regexp.MustCompile(`(?m)^` + forwardedMetric + `\{[^}]*addr="([^"]*)"`)

// learnCopies finds out how many copies of a row a vminsert sends, of which text
// are the metrics. Its flags do not change while it runs: see Remote.once.
func (r *Remote) learnCopies(ctx context.Context, n *node, text []byte) error {
	flags, err := r.ask(ctx, n, "/flags", nil)
	if err != nil {
		return err
	}
	copies := int64(1)
	if found := replicationFlag.FindSubmatch(flags); found != nil {
		if copies, err = strconv.ParseInt(string(found[1]), 10, 64); err != nil || copies > 2 {
			return unavailable("/flags", fmt.Errorf("%s has a -replicationFactor of %s: of more than 2 it does not tell when it has sent all", n.url.Host, found[1]))
		}
	}
	known := map[string]bool{}
	for _, found := range addressOf.FindAllSubmatch(text, -1) {
		known[string(found[1])] = true
	}
	n.copies.Store(max(1, min(copies, int64(len(known)))))
	return nil
}

// total adds up the values of a metric, whatever its labels are, and says whether
// there are some.
func total(text []byte, name string) (sum float64, some bool) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if !ok || len(rest) == 0 || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		at := bytes.LastIndexByte(bytes.TrimSpace(rest), ' ')
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(rest[at+1:])), 64)
		if err == nil {
			sum, some = sum+v, true
		}
	}
	return sum, some
}

// ask makes a request to a node.
func (r *Remote) ask(ctx context.Context, n *node, path string, params url.Values) ([]byte, error) {
	text, err := r.call(ctx, request{method: http.MethodGet, at: n.url, path: path, params: params})
	if err != nil && r.cluster {
		return nil, fmt.Errorf("%s: %w", n.url.Host, err)
	}
	return text, err
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
