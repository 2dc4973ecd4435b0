package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard/guardtest"
)

// FuzzRanges: whatever is asked for, an answer is a part of the file in one piece,
// as long as it says, and the record counts its bytes.
func FuzzRanges(f *testing.F) {
	for _, r := range []string{"", "bytes=0-", "bytes=-1", "bytes=-0", "bytes=5-4", "bytes=0-0,2-2", "bytes=99999-", "bytes= 1 - 2", "bytes=9223372036854775807-9223372036854775807", "BYTES=0-1", "bytes=0-18446744073709551616"} {
		f.Add(r, `"v1"`, 70_000)
	}
	f.Add("bytes=1-2", "Mon, 02 Jan 2006 15:04:05 GMT", 3)
	routes, err := gateway.ParseRoutes(toyRoutes)
	if err != nil {
		f.Fatal(err)
	}
	w := guardtest.New(f)
	f.Fuzz(func(t *testing.T, ranges, ifRange string, size int) {
		w.Forget()
		data := pattern(min(max(size, 0), 200_000))
		p := &toy{routes: routes, serve: content(data)}
		door := gateway.New(gateway.Door{Protocol: p, Guard: w.Guard, Prefix: "", Audience: audience, Logger: w.Guard.Logger}, 1)
		r := httptest.NewRequest(http.MethodGet, "/files/f", nil)
		r.Header.Set("Authorization", "Bearer "+token("rob"))
		r.Header.Set("Range", ranges)
		r.Header.Set("If-Range", ifRange)
		answer := httptest.NewRecorder()
		door.ServeHTTP(answer, r)
		body := answer.Body.String()
		ends := w.Of(sallyport.EventCompleted)
		end := ends[len(ends)-1].Delivered
		if end.Bytes != int64(len(body)) || end.Status != answer.Code || end.End != "" {
			t.Fatalf("recorded %+v for %d bytes, status %d", end, len(body), answer.Code)
		}
		if n := answer.Header().Get("Content-Length"); n != "" && n != strconv.Itoa(len(body)) {
			t.Fatalf("announced %s, delivered %d", n, len(body))
		}
		switch answer.Code {
		case http.StatusOK:
			if body != string(data) {
				t.Fatal("the whole is not the whole")
			}
		case http.StatusPartialContent:
			if !strings.Contains(string(data), body) || body == "" || strings.Contains(answer.Header().Get("Content-Type"), "multipart") {
				t.Fatalf("%d bytes are no part of the file", len(body))
			}
		case http.StatusRequestedRangeNotSatisfiable:
		default:
			t.Fatalf("status %d", answer.Code)
		}
	})
}
