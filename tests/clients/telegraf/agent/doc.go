// Package agent pins the stock Telegraf, with the dependencies that it was
// released with. It has no code: the tests beside it build the agent from here.
//
// Its go.mod is written by go build -mod=mod tool, with the tags of those tests;
// go mod tidy would bring what all of Telegraf's plugins need.
package agent
