package main

import (
	"fmt"
	"sync"
	"time"

	"sallyport/client"
)

// A meter shows on a terminal how far something is, at most ten times a second.
type meter struct {
	app   *app
	on    bool
	began time.Time
	shown time.Time
	wide  bool // something stands in the line
}

func (a *app) meter() *meter {
	return &meter{app: a, on: a.terminal && !a.quiet, began: a.now()}
}

// show prints progress over what stood there.
func (m *meter) show(p client.Progress) {
	now := m.app.now()
	if !m.on || now.Sub(m.shown) < 100*time.Millisecond && p.Done < p.Total {
		return
	}
	m.shown, m.wide = now, true
	rate := ""
	if s := now.Sub(m.began).Seconds(); s > 1 {
		rate = "  " + size(int64(float64(p.Done)/s)) + "/s"
	}
	percent := int64(100)
	if p.Total > 0 {
		percent = 100 * p.Done / p.Total
	}
	fmt.Fprintf(m.app.err, "\r\033[K%s %3d %%  %s of %s%s  %s", p.Phase, percent, size(p.Done), size(p.Total), rate, clean(p.File))
}

// done clears the line.
func (m *meter) done() {
	if m.wide {
		fmt.Fprint(m.app.err, "\r\033[K")
	}
}

// waiting tells on a terminal what is waited for once it takes longer than a second. The function that it returns ends
// it; it may be called once.
func (a *app) waiting(what string) func() {
	if !a.terminal || a.quiet {
		return func() {}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-stop:
				if n > 1 {
					fmt.Fprint(a.err, "\r\033[K")
				}
				return
			case <-tick.C:
				fmt.Fprintf(a.err, "\r\033[K%s, %d s", clean(what), n)
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}
