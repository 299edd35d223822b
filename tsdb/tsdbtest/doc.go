// Package tsdbtest says by example what the series engine must do.
//
// [RunStore], [RunDurable], [RunDescribed] and [RunDescriptors] are the
// conformance suites of the interfaces in tsdb. [RunScripts] runs the scripts
// of testdata over a store. Every storage runs all of them, so a difference
// between two storages is a bug in one.
//
// # Scripts
//
// A script is a text of steps. A step begins at the first column, and its
// body is the indented lines below it. Everything after a # that begins a
// line or follows a space is a comment.
//
//	load 10s as gauge double
//	  temp{device="d1"}  20 21 _ 23x3
//
//	# The window is (start, end]: the sample at 30s belongs to the first.
//	align mean period 30s from 0s to 60s
//	  temp{device="d1"}  22@30s 23@60s
//
//	reduce max by (device) of align count period 30s from 0s to 60s
//	  {device="d1"}  2@30s 3@60s
//
// # Loading
//
//	load STEP [from TIME] [as KIND TYPE [UNIT]]
//	  SERIES VALUE...
//
// appends one value every STEP, the first at TIME (0s if not given). KIND and
// TYPE are gauge and double if not given; the first load of a metric decides.
//
//	_       no sample
//	5       the value 5
//	5x3     the value 5, and three times more
//	5+2x3   5 7 9 11, and 5-2x3 likewise
//	_x3     no sample, three times
//
// A distribution is written by its values, from which count, mean, deviation,
// range and the counts of the buckets follow:
//
//	[1,2,2]                 without a histogram
//	lin:4:10:0[5,15]        four linear buckets, 10 wide, from 0 on
//	exp:4:2:1[3]            four exponential buckets, growing by 2 from 1 on
//	at:0:10:20[5,15]        explicit bounds
//	dyn:100[5,15]           dynamic buckets with a compression of 100
//	at:0:10:20[5,15]!       its range is not known
//	at:0:10:20[5,15]x3      and three times more
//
// All times are durations since a fixed instant. A SERIES is a metric type,
// then metric labels in braces; the labels whose names begin with "resource."
// are resource labels. The resource type is always device.
//
// # Querying
//
//	align NAME [period D] from TIME to TIME [then AGAIN] [where FILTER]
//	reduce NAME [by (LABEL, ...)] of align ...
//	  SERIES VALUE@TIME...
//
// asks the query engine and expects exactly these series and points; no body
// expects no series. AGAIN is the secondary aggregation:
//
//	[reduce NAME [by (LABEL, ...)] of] align NAME [period D]
//
// A SERIES without a metric type stands for whatever metric there is. NAME is
// that of an aligner or reducer without its prefix, in lower case. VALUE may be
// a fraction, so that 10/60 need not be rounded by hand. Instead of series the body may say
//
//	is KIND TYPE [UNIT]     what every series of the answer is; series follow
//	fails TEXT              that the query is Invalid, with a message that
//	                        contains TEXT
//
// # Metamorphic
//
// Every script is run as it stands, and then with its samples in another
// order, some of them repeated, some accompanied by lower values at the same
// times, and split into batches: the answers must be the same.
package tsdbtest
