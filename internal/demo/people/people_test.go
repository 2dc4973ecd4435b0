package people

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestApp holds the app against RFC 6238, appendix B, and wants no code twice.
func TestApp(t *testing.T) {
	app := App{Key: "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}
	seen := map[string]bool{}
	for range 2 {
		code, err := app.Code(t.Context())
		if err != nil || len(code) != 6 || seen[code] {
			t.Fatalf("code %q, %v", code, err)
		}
		seen[code] = true
	}
	if now := uint64(time.Now().Unix() / 30); app.last > now+1 || app.last < now {
		t.Errorf("the last code is of step %d, now is %d", app.last, now)
	}
	app.last += 100
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if code, err := app.Code(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a code of the far future: %q, %v", code, err)
	}
	if _, err := new(App).Code(t.Context()); err == nil {
		t.Error("an app without a key shows codes")
	}
}

func TestPage(t *testing.T) {
	p := &Page{At: &url.URL{Path: "/x"}, Texts: map[string]string{}}
	err := p.parse(strings.NewReader(`<!doctype html><html><head><meta charset="utf-8"><title>T</title></head><body><nav><a id="who" href="/a">ana</a></nav>
<main><h1>Hello &amp; welcome</h1><code id="secret">AB CD</code><br>
<form method="post" action="/one"><input type="hidden" name="mark" value="m&quot;1"><input id="c" name="code" required autofocus></form>
<form method="post" action="/two"><input name="id" value="7"><button name="go" value="yes">Go</button></form></main></body></html>`))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.forms) != 2 || p.forms[0].action != "/one" || p.forms[0].fields.Get("mark") != `m"1` || !p.forms[0].fields.Has("code") || p.forms[1].fields.Get("id") != "7" {
		t.Errorf("forms %+v", p.forms)
	}
	if p.Texts["who"] != "ana" || p.Texts["secret"] != "AB CD" || p.Main != "Hello & welcome AB CD Go" {
		t.Errorf("texts %v, main %q", p.Texts, p.Main)
	}
	if _, err := new(Browser).Send(t.Context(), p, "/three", nil); err == nil || !strings.Contains(err.Error(), "no form for /three") {
		t.Errorf("a form that is not there: %v", err)
	}
}
