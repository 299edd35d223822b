// Command peer is PocketBase from its Go module, as its documentation builds
// it: what the resource service is measured beside.
package main

import (
	"log"

	"github.com/pocketbase/pocketbase"
)

func main() {
	if err := pocketbase.New().Start(); err != nil {
		log.Fatal(err)
	}
}
