package embed_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"sallyport"
	"sallyport/embed"
)

// A server of one's own lets ask Sallyport before it answers. The Sallyport here is a stand-in that permits one model.
func ExampleGuard() {
	sallyportServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(q)
		if strings.Contains(string(q), `"acme/fraud"`) {
			fmt.Fprint(w, `{"decision":true,"context":{"id":"D-7f3k00000000"}}`)
			return
		}
		fmt.Fprint(w, `{"decision":false,"context":{"id":"D-7f3k00000001","outcome":"deny","reason_user":{"403":"Sallyport D-7f3k00000001: nobody may."}}}`)
	}))
	defer sallyportServer.Close()

	guard, err := embed.Open(embed.Config{
		Server: sallyportServer.URL, Plaintext: true, // https://sallyport.example
		Token: func(context.Context) (string, error) { return "the server's own token", nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	score := guard.Protect(func(r *http.Request) (embed.Call, error) {
		model, err := sallyport.ParseRef("acme/" + r.URL.Query().Get("model"))
		return embed.Call{Action: sallyport.ModelInfer, Resource: model, Who: "user:ana", Token: embed.Bearer(r)}, err
	}, func(w http.ResponseWriter, _ *http.Request, p *embed.Permit) {
		fmt.Fprintf(w, "0.93, under %s", p.ID())
	})

	for _, model := range []string{"fraud", "frontier"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/score?model="+model, nil)
		r.Header.Set("Authorization", "Bearer ana's token")
		score.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 0.93, under D-7f3k00000000
	// 403 {"decision":"D-7f3k00000001","message":"Sallyport D-7f3k00000001: nobody may.","status":403}
}
