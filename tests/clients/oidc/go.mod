module selvedge.dev/tests/clients/oidc

go 1.26.6

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/stretchr/testify v1.12.1
	selvedge.dev v0.0.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace selvedge.dev => ../../..
