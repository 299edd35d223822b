// Command function is what the tests have in an image.
package main

import "selvedge.dev/local/cluster/serving/pool/pooltest"

func main() { pooltest.Main() }
