-- Entries of logs. The order puts those of one project and about one time
-- together, then those of one log; ends with what makes an entry one, so that
-- of entries that came twice one is left when parts are merged (reads do not
-- wait for it). Days are partitions, so that old days go as a whole.
CREATE TABLE IF NOT EXISTS entries (
	Project LowCardinality(String),
	Bucket LowCardinality(String),
	Log LowCardinality(String),
	-- Slot is the number of the five minutes since 1970 that Time is in.
	Slot UInt32 CODEC(Delta(4), ZSTD(1)),
	Time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
	InsertId String CODEC(ZSTD(1)),
	Received DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
	Severity UInt16 CODEC(ZSTD(1)),
	ResourceType LowCardinality(String),
	ResourceLabels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
	Labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
	Trace String CODEC(ZSTD(1)),
	SpanId String CODEC(ZSTD(1)),
	TraceSampled Bool,
	-- Kind is logstore.Kind: 0 none, 1 text, 2 JSON, 3 a message, 4 bytes.
	Kind UInt8,
	TypeUrl LowCardinality(String),
	Data String CODEC(ZSTD(1)),
	Wire String CODEC(ZSTD(1)),
	Extra String CODEC(ZSTD(1)),
	-- Words is what else is found in Data: its strings without JSON's escapes,
	-- '' if it has none.
	Words String CODEC(ZSTD(1)),
	Origin LowCardinality(String),
	-- Rank is the complement of logstore.Entry.Seq. Of entries that came twice
	-- the one with the highest is left: the first.
	Rank UInt64 CODEC(Delta(8), ZSTD(1)),
	-- Size is logstore.Entry.Size.
	Size UInt32 CODEC(ZSTD(1)),
	INDEX rank Rank TYPE minmax GRANULARITY 1,
	INDEX severity Severity TYPE set(16) GRANULARITY 1,
	INDEX trace lower(Trace) TYPE bloom_filter(0.001) GRANULARITY 1,
	{{- if .TextIndex }}
	INDEX words {{ .Words }} TYPE text(tokenizer = 'splitByNonAlpha'),
	INDEX labels {{ .Labels }} TYPE text(tokenizer = 'array'),
	INDEX resource {{ .ResourceLabels }} TYPE text(tokenizer = 'array')
	{{- else }}
	INDEX words {{ .Words }} TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1,
	INDEX labels {{ .Labels }} TYPE bloom_filter(0.01) GRANULARITY 1,
	INDEX resource {{ .ResourceLabels }} TYPE bloom_filter(0.01) GRANULARITY 1
	{{- end }}
)
ENGINE = ReplacingMergeTree(Rank)
PARTITION BY toYYYYMMDD(Time)
PRIMARY KEY (Project, Slot, Log)
ORDER BY (Project, Slot, Log, Time, InsertId, Bucket)
-- A question is mostly for a hundred entries here and there: fewer neighbours are
-- read with each than with the default of 8192.
SETTINGS index_granularity = 2048
