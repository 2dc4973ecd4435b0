package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/enforce/admission"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// TestTheOrchestratorAsks is a cluster without a cluster: real AdmissionReview documents over HTTPS, at the server that
// runs, from one that shows a token and one that shows a certificate. A model that was never promoted does not start, after
// its promotion it does, held it does not, and what was said is in the log.
func TestTheOrchestratorAsks(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	token := r.machine("east", "enforcement-point", "/admission", "decision.ask")
	adam := r.As("adam").who.client
	for _, x := range []api.Thing{{Resource: "endpoint:acme/east", Project: "acme/risk", Class: sallyport.Internal, Environment: sallyport.Production},
		{Resource: "endpoint:acme/east-dev", Project: "acme/risk", Class: sallyport.Internal, Environment: sallyport.Development}} {
		if _, err := adam.Add(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	r.restartWith(func() {
		r.config.Admission = server.AdmissionConfig{Clusters: []admission.Cluster{{Name: "east", Principal: "service:east", Label: "sallyport.dev/environment",
			Endpoints: map[sallyport.Environment]string{sallyport.Production: "endpoint:acme/east", sallyport.Development: "endpoint:acme/east-dev"},
			Users:     []admission.User{{Prefix: "oidc:", Assurance: "phr"}},
			Sources:   []admission.Source{{From: "hf://acme/", To: "acme", Environments: []sallyport.Environment{sallyport.Development, sallyport.Production}}}}}}
	})
	version, err := r.As("ana").who.client.Manifest(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	k := &kubernetes{r: r, wire: r.wire, bearer: token()}
	pinned := "hf://" + base + "@sha256:" + version.Digest
	k.wants("development", "oidc:oto", pinned, true)
	k.wants("production", "oidc:oto", pinned, false, "It must stand in production")
	k.wants("development", "oidc:oto", "hf://"+base+":main", false, "is not pinned", "sallyport show "+base)
	k.wants("development", "oidc:bo", pinned, false, "Sallyport D-")
	k.wants("development", "system:serviceaccount:kube-system:default", pinned, false, "is nobody here")

	l := r.As("tess").Laptop("apiserver", "") // of who answers for the service
	certified := &kubernetes{r: r, wire: l.wire}
	certified.wants("development", "oidc:oto", pinned, true)
	k.bearer = ""
	if code, _ := k.post("development", "oidc:oto", pinned); code != http.StatusUnauthorized {
		t.Errorf("without token and certificate: %d", code)
	}
	stranger := &kubernetes{r: r, wire: r.As("ana").Laptop("other", "").wire}
	if code, _ := stranger.post("development", "oidc:oto", pinned); code != http.StatusUnauthorized {
		t.Errorf("with somebody else's certificate: %d", code)
	}

	r.As("rita").Lock("model:" + base)
	certified.wants("development", "oidc:oto", pinned, false, "hold", "locked")
	e, ok := r.found(func(e sallyport.Logged) bool { return e.Type == sallyport.EventAdmission })
	if !ok || e.Outcome != "deny" || e.Who != "user:oto" || e.Detail["cluster"] != "east" || e.Detail["environment"] != "development" {
		t.Errorf("the log says %+v", e)
	}
	decided, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventDecided && e.Action == sallyport.ModelDeploy && e.Outcome == allowed
	})
	if !ok || decided.Who != "user:oto" || decided.Asked.Client != "cluster:east" {
		t.Errorf("the log says %+v", decided)
	}
	r.replayed(decided.Decision)
}

// kubernetes sends what an API server sends.
type kubernetes struct {
	r      *story
	wire   *http.Client
	bearer string
}

func (k *kubernetes) post(env, user, uri string) (int, admission.Response) {
	k.r.t.Helper()
	body, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": map[string]any{
		"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": map[string]string{"group": "serving.kserve.io", "version": "v1beta1", "kind": "InferenceService"},
		"resource":    map[string]string{"group": "serving.kserve.io", "version": "v1beta1", "resource": "inferenceservices"},
		"requestKind": map[string]string{"group": "serving.kserve.io", "version": "v1beta1", "kind": "InferenceService"},
		"name":        "fraud", "namespace": "ml", "operation": "CREATE", "dryRun": false,
		"userInfo": map[string]any{"username": user, "uid": "1", "groups": []string{"system:authenticated"}, "extra": map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=00"}}},
		"object": map[string]any{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": map[string]any{"name": "fraud", "namespace": "ml"},
			"spec": map[string]any{"predictor": map[string]any{"model": map[string]any{"modelFormat": map[string]any{"name": "huggingface"}, "storageUri": uri}}}},
		"oldObject": nil, "options": map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"}}})
	if err != nil {
		k.r.t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(k.r.t.Context(), http.MethodPost, k.r.server.External()+admission.Prefix+"/east/"+env+"?timeout=10s", bytes.NewReader(body))
	if err != nil {
		k.r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	if k.bearer != "" {
		q.Header.Set("Authorization", "Bearer "+k.bearer)
	}
	res, err := k.wire.Do(q)
	if err != nil {
		k.r.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		k.r.t.Fatal(err)
	}
	var review admission.Review
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(raw, &review); err != nil {
			k.r.t.Fatal(err)
		}
	}
	return res.StatusCode, review.Response
}

func (k *kubernetes) wants(env, user, uri string, letIn bool, say ...string) {
	k.r.t.Helper()
	code, a := k.post(env, user, uri)
	if code != http.StatusOK || a.Allowed != letIn || !letIn && a.Status == nil {
		k.r.t.Errorf("%s in %s by %s: %d %+v %+v", uri, env, user, code, a, a.Status)
		return
	}
	for _, want := range say {
		if !strings.Contains(a.Status.Message, want) {
			k.r.t.Errorf("%s in %s by %s: %q says nothing of %q", uri, env, user, a.Status.Message, want)
		}
	}
}
