// Command peer is PocketBase from its Go module, as its documentation builds
// it: what the resource service is measured beside. With PEER_SYNCHRONOUS=FULL
// its commits are on the disk when it answers; its own setting is NORMAL.
package main

import (
	"cmp"
	"log"
	"os"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase"
)

func main() {
	app := pocketbase.NewWithConfig(pocketbase.Config{DBConnect: func(path string) (*dbx.DB, error) {
		// What core.DefaultDBConnect has, but for one setting.
		return dbx.Open("sqlite", path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=journal_size_limit(200000000)"+
			"&_pragma=synchronous("+cmp.Or(os.Getenv("PEER_SYNCHRONOUS"), "NORMAL")+")"+
			"&_pragma=foreign_keys(ON)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-32000)")
	}})
	if err := app.Start(); err != nil {
		log.Fatal(err)
	}
}
