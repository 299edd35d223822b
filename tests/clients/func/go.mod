module selvedge.dev/tests/clients/func

go 1.26.6

require (
	github.com/stretchr/testify v1.12.1
	golang.org/x/sync v0.24.0
	selvedge.dev v0.0.0
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.12.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace selvedge.dev => ../../..
