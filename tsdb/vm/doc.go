// Package vm keeps time series in VictoriaMetrics' storage engine, embedded in
// this process (github.com/VictoriaMetrics/VictoriaMetrics/lib/storage). It is
// the only package that imports that engine. Remote keeps them in a
// VictoriaMetrics server instead, and passes the same suite; what it promises
// and asks for is in its own comment, and the rest of this one is about Store.
//
// The invariant: what Append accepted is in every later Select, and what Sync
// returned for is on disk, index and data. The engine itself promises neither
// (it works by timers), so the store keeps two marks, visible and durable, and
// moves them while no rows are being added; see horizon.go.
//
// All methods may be called concurrently.
//
// # Precision
//
// The engine keeps values as decimal numbers, up to 8192 neighbours of one
// series with one exponent. Exact are integers up to 2^53 and every value of
// up to eleven significant decimal digits; other values are cut with a relative
// error of at most 1.1e-12. Beyond that, a value loses what is below 1e-17 of
// the largest of its neighbours, and one below 1e-290 may become zero.
//
// # The process
//
// The engine is configured by flags and variables of the process, so the first
// Open of a process decides about CacheBytes and MinFreeBytes for all its
// stores, and log lines of the engine, which do not say where they come from,
// go to the logger of the store that was opened last. Each store locks its
// directory against other processes.
//
// # Failure
//
// The engine ends the process when a disk fails under it after Open (an I/O
// error, no space in spite of MinFreeBytes, a damaged file). What was not synced
// then comes again from the caller's journal; adding what is there already
// changes nothing.
//
// After a crash the engine may have the index entries of a series that was
// created in its last seconds in part. What was synced is whole. For what was
// not, the engine completes the entries when the second new point of the series
// comes, or makes the series anew; Select joins the two.
//
// # Cost
//
// Measured on two cores: Append 0.4 to 0.9 µs of processor time for a sample,
// without an allocation of its own; making 15,000 samples visible 5 to 20 ms;
// Sync 30 to 60 ms when little changed and 150 to 300 ms at 300,000 samples/s,
// on an ext4 file system; Select 30 to 100 million points/s, Scan
// that for each processor; ScanWindows of what was asked before reads the last block
// of each series, and keeps 16 MB for that. An idle store
// takes 20 MB when opened and some 60 MB after it was busy, 16 of them buffers
// of the engine for each month that is written to.
package vm
