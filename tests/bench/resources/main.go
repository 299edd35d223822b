package main

import ("context";"fmt";"os";"time")

func main() {
	ctx := context.Background()
	t := ours("ours", os.Args[1], os.Args[2])
	c, g, err := creates(ctx, t, "ra00", 5*time.Second)
	fmt.Println(c.rate, c.quantile(.5), c.quantile(.99), g.rate, err)
	l, err := lists(ctx, t, 3*time.Second)
	fmt.Println(l.rate, err)
	f, err := fanOut(ctx, t, "rb00", 200, 100)
	fmt.Println(f.rate, f.latencies, err)
}
