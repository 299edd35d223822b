module selvedge.dev/tests/clients/func

go 1.26.6

require (
	github.com/stretchr/testify v1.12.1
	golang.org/x/sync v0.24.0
	selvedge.dev v0.0.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace selvedge.dev => ../../..
