package extauthz_test

import (
	"context"
	"slices"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"sallyport/internal/enforce/extauthz"
)

// bare answers at once.
type bare struct {
	authv3.UnimplementedAuthorizationServer
}

// Check implements the service.
func (bare) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{}, nil
}

// BenchmarkCheck measures one question at a time against a service that answers at once, over the same wire in the same
// run; added is what the door, the guard and the record in memory cost.
func BenchmarkCheck(b *testing.B) {
	s := newSite(b)
	echo := grpc.NewServer()
	authv3.RegisterAuthorizationServer(echo, bare{})
	against := authv3.NewAuthorizationClient(dial(b, serve(b, echo), insecure.NewCredentials()))
	ctx := metadata.AppendToOutgoingContext(b.Context(), extauthz.TokenHeader, edge)
	pull := &authv3.CheckRequest{Attributes: ask{upstream: "hub", path: weight, header: bearer("rob", "hf")}.attributes()}
	infer := &authv3.CheckRequest{Attributes: chat("acme/open", bearer("ana", "openai")).attributes()}
	for name, q := range map[string]*authv3.CheckRequest{"pull": pull, "infer": infer} {
		b.Run(name, func(b *testing.B) {
			var ours, theirs []time.Duration
			time1 := func(c authv3.AuthorizationClient) time.Duration {
				began := time.Now()
				if _, err := c.Check(ctx, q); err != nil {
					b.Fatal(err)
				}
				return time.Since(began)
			}
			for range 50 {
				time1(s.client)
				time1(against)
			}
			for b.Loop() {
				ours, theirs = append(ours, time1(s.client)), append(theirs, time1(against))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			p50, echo := ours[len(ours)/2], theirs[len(theirs)/2]
			b.ReportMetric(float64(p50.Microseconds()), "p50-µs")
			b.ReportMetric(float64(echo.Microseconds()), "echo-p50-µs")
			b.ReportMetric(float64((p50 - echo).Microseconds()), "added-p50-µs")
			b.ReportMetric(float64(ours[len(ours)*99/100].Microseconds()), "p99-µs")
		})
	}
}
