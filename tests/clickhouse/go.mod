module selvedge.dev/tests/clickhouse

go 1.26.6

require github.com/ebitengine/purego v0.11.3
