// Package admission owns the door of the orchestrator: a validating admission webhook (Kubernetes, AdmissionReview
// admission.k8s.io/v1) that lets a workload into a cluster only where every image, every model and every volume that it
// names resolves to an approved digest of the catalog, in the environment that its namespace stands in.
//
// What is not understood is refused: an unknown kind, subresource or field of the review, a name that no rule covers, a tag
// that may move. A cluster is an enforcement point with an account of its own, which asks about what it may ask about
// (sallyport.DecisionAsk); the one decided on is the cluster's user, mapped to a principal by configuration.
//
// It leaves decisions to the guard, names and digests to the catalog, and what a running container does to the network:
// admission reads what a manifest says and cannot know what a program computes.
package admission

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/caller"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// Prefix is the path of the door: PREFIX/CLUSTER/ENVIRONMENT, or PREFIX/CLUSTER/cluster for what stands in no namespace.
const Prefix = "/admission"

// scopeCluster is the last segment of the path for what stands in no namespace.
const scopeCluster = "cluster"

// maxBody bounds a review: two versions of an object, each at most 1.5 MiB in etcd, and JSON is no denser.
const maxBody = 6 << 20

// wordLife is how long the cluster's word about its user is good for: the one request.
const wordLife = time.Minute

// A Door serves the webhook. It is an http.Handler; its fields are set once.
type Door struct {
	Guard    *guard.Guard
	Audience string             // what a cluster's token must be for
	Clusters map[string]Cluster // by name, each checked by Cluster.Check
	Logger   *slog.Logger
	Clock    func() time.Time
}

// ServeHTTP answers one review. The HTTP status is 200 for every answer that was made, allowed or not; anything else is a
// failure of the webhook, which a failurePolicy of Fail refuses too.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	c, env, ok := d.place(r)
	proof := caller.Proof(r, d.Audience)
	if proof.Scheme == "Basic" {
		proof.Bearer = secret.Text{}
	}
	proof.Machine = c.Principal
	by := guard.Call{Door: "admission", IP: proof.IP, Proof: proof}
	if !ok {
		if _, err := d.Guard.Unmapped(r.Context(), by, r.Method, r.URL.EscapedPath()); err != nil {
			d.fail(w, r, err)
			return
		}
		http.Error(w, "there is no such webhook", http.StatusNotFound)
		return
	}
	who, err := d.Guard.Identify(r.Context(), &by) // nobody unknown makes us read a body
	if err == nil && who.ID != c.Principal {
		_, err = d.Guard.Unmapped(r.Context(), by, r.Method, r.URL.EscapedPath())
		if err == nil {
			err = sallyport.E("review", sallyport.NotFound, "there is no such webhook", "")
		}
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		d.fail(w, r, sallyport.Wrap("read review", sallyport.TooLarge, "the body broke off or is over 6 MiB", err))
		return
	}
	q, err := Parse(body)
	if err != nil {
		d.fail(w, r, d.unreadable(r.Context(), by, r, err))
		return
	}
	a, err := d.review(r.Context(), &inquiry{cluster: c, env: env, by: by, request: q})
	if err != nil {
		d.fail(w, r, err)
		return
	}
	d.answer(w, r, a)
}

// place is the cluster and the environment that a request is about.
func (d *Door) place(r *http.Request) (Cluster, sallyport.Environment, bool) {
	rest, below := strings.CutPrefix(r.URL.EscapedPath(), Prefix+"/")
	name, env, two := strings.Cut(rest, "/")
	c, known := d.Clusters[name]
	if !below || !two || !known || r.Method != http.MethodPost {
		return Cluster{}, "", false
	}
	if env == scopeCluster {
		return c, "", true
	}
	_, has := c.Endpoints[sallyport.Environment(env)]
	return c, sallyport.Environment(env), has
}

// unreadable records that a known cluster sent what cannot be read: it may be an attempt at two readings.
func (d *Door) unreadable(ctx context.Context, by guard.Call, r *http.Request, cause error) error {
	if _, err := d.Guard.Unmapped(ctx, by, r.Method, r.URL.EscapedPath()+" "+sallyport.PublicText(cause)); err != nil {
		return err
	}
	return cause
}

func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := httpsafe.Status(err)
	if status == http.StatusUnauthorized {
		caller.Challenge(w.Header(), err)
	}
	if status >= http.StatusInternalServerError {
		d.Logger.ErrorContext(r.Context(), "request failed", "door", "admission", "path", r.URL.Path, "err", err)
	}
	http.Error(w, sallyport.PublicText(err), status)
}

func (d *Door) answer(w http.ResponseWriter, r *http.Request, a Review) {
	body, err := json.Marshal(a)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the cluster is gone: its request fails there
}
