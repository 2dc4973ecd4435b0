package admission_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/enforce/admission"
	"sallyport/internal/enforce/doortest"
)

const audience = "https://sallyport.test/admission"

// A site is the door of one cluster before acme.
type site struct {
	*doortest.World
	t     *testing.T
	door  *admission.Door
	token string
}

func east() admission.Cluster {
	everywhere := []sallyport.Environment{sallyport.Development, sallyport.Staging, sallyport.Production}
	c := admission.Cluster{Name: "east", Principal: "service:mesh", Label: "sallyport.dev/environment", Scoped: sallyport.Production,
		Endpoints: map[sallyport.Environment]string{sallyport.Production: "endpoint:acme/scoring", sallyport.Development: "endpoint:acme/play"},
		Sources: []admission.Source{
			{From: "hf://acme/", To: "acme", Environments: everywhere},
			{From: "s3://models/", To: "acme", Environments: everywhere},
			{From: "oci://registry.test/models/", To: "acme", Environments: everywhere},
			{From: "registry.test/models/", To: "acme", Environments: everywhere},
			{From: "registry.test/kserve/storage-initializer@sha256:" + hex("ee"), Tool: true, Environments: everywhere},
			{From: "vllm/vllm-openai@sha256:" + hex("dd"), Tool: true, Environments: []sallyport.Environment{sallyport.Production}},
			{From: "pvc://fraud-weights", Is: "acme/fraud@v1", Environments: []sallyport.Environment{sallyport.Production}},
		},
		Users: []admission.User{{Name: "system:serviceaccount:kube-system:replicaset-controller", Principal: "service:server", Controller: true}},
	}
	for _, level := range []string{"none", "aal1", "aal2", "phr", "aal3"} {
		c.Users = append(c.Users, admission.User{Prefix: level + ":", Assurance: level})
	}
	for _, name := range []string{"trainer", "server", "siem", "okta", "mesh", "partner"} {
		c.Users = append(c.Users, admission.User{Name: "system:serviceaccount:ci:" + name, Principal: sallyport.PrincipalID("service:" + name)})
	}
	return c
}

func newSite(t *testing.T, clusters ...admission.Cluster) *site {
	t.Helper()
	w := doortest.New(t, acme.Files)
	s := &site{World: w, t: t, door: &admission.Door{Guard: w.Guard, Audience: audience, Clusters: map[string]admission.Cluster{},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Clock: w.Clock.Now}}
	for _, c := range append(clusters, east()) {
		checked, err := c.Check()
		if err != nil {
			t.Fatal(err)
		}
		s.door.Clusters[c.Name] = checked
	}
	s.token = w.Issue(sallyport.Principal{ID: "service:mesh", Person: w.Person("service:mesh"), Audience: audience, Scope: sallyport.Scope{"*"},
		Expires: w.Clock.Now().Add(1 << 40)})
	return s
}

func hex(two string) string { return strings.Repeat(two, 32) }

// digest is the digest of a version.
func (s *site) digest(name string) string {
	s.t.Helper()
	ref, err := sallyport.ParseRef(name)
	if err != nil {
		s.t.Fatal(err)
	}
	x, ok := s.Facts.Snapshot().Resolve(ref)
	if !ok || x.Digest == "" {
		s.t.Fatalf("%s is no version", name)
	}
	return x.Digest
}

// send posts a body and returns the status and what was answered.
func (s *site) send(path, token string, body []byte) (int, admission.Response, string) {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://sallyport.test"+admission.Prefix+path, strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.door.ServeHTTP(w, r)
	var a admission.Review
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || a.APIVersion != "admission.k8s.io/v1" || a.Kind != "AdmissionReview" {
			s.t.Fatalf("%v: %s", err, w.Body)
		}
	}
	return w.Code, a.Response, w.Body.String()
}

// A manifest is one review in the making.
type manifest struct {
	resource, operation, namespace, user, sub string
	object, old                               any
	dryRun                                    bool
}

func (m manifest) body() []byte {
	name, group, _ := strings.Cut(m.resource, ".")
	q := map[string]any{"uid": "u-1", "kind": map[string]string{"group": group, "version": "v1", "kind": "Kind"},
		"resource": map[string]string{"group": group, "version": "v1", "resource": name}, "name": "fraud", "namespace": m.namespace,
		"operation": m.operation, "userInfo": map[string]any{"username": m.user, "groups": []string{"system:authenticated"}},
		"object": m.object, "oldObject": m.old, "dryRun": m.dryRun, "options": map[string]any{"kind": "CreateOptions"},
		"requestKind": map[string]string{"kind": "Kind"}, "requestResource": map[string]string{"resource": name}}
	if m.sub != "" {
		q["subResource"], q["requestSubResource"] = m.sub, m.sub
	}
	if m.namespace == "" {
		delete(q, "namespace")
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": q})
	if err != nil {
		panic(err)
	}
	return body
}

func (s *site) review(path string, m manifest) admission.Response {
	s.t.Helper()
	code, a, text := s.send(path, s.token, m.body())
	if code != http.StatusOK || a.UID != "u-1" {
		s.t.Fatalf("%d %s", code, text)
	}
	return a
}

// creates is a review of a CREATE by a user.
func creates(user, resource string, object any) manifest {
	return manifest{resource: resource, operation: "CREATE", namespace: "ml", user: user, object: object}
}

func parse(t testing.TB, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// service is an InferenceService of a model at an address.
func service(uri string) any {
	return map[string]any{"metadata": map[string]any{"name": "fraud"}, "spec": map[string]any{"predictor": map[string]any{"model": map[string]any{
		"modelFormat": map[string]any{"name": "sklearn"}, "storageUri": uri}}}}
}

func pod(spec string) string {
	return `{"metadata":{"name":"p"},"spec":` + spec + `}`
}

const oto = "aal2:oto"

// TestAnApprovedDigestIsLetIn, by whoever may deploy it where it stands, and nothing else is.
func TestAnApprovedDigestIsLetIn(t *testing.T) {
	s := newSite(t)
	good := "hf://acme/fraud@sha256:" + s.digest("acme/fraud@v1")
	a := s.review("/east/production", creates(oto, "inferenceservices.serving.kserve.io", service(good)))
	if !a.Allowed || a.Status != nil || !strings.HasPrefix(a.Annotations["decisions"], "D-") {
		t.Fatalf("%+v %+v", a, a.Status)
	}
	for name, x := range map[string]struct {
		path, user, uri string
		say             []string
	}{
		"a tag":               {"/east/production", oto, "hf://acme/fraud:main", []string{"is not pinned", "sallyport show acme/fraud", "storageUri", "Sallyport D-"}},
		"no revision":         {"/east/production", oto, "hf://acme/fraud", []string{"is not pinned"}},
		"not in the catalog":  {"/east/production", oto, "hf://acme/fraud@sha256:" + hex("00"), []string{"Sallyport D-"}},
		"another environment": {"/east/production", oto, "hf://acme/fraud@sha256:" + s.digest("acme/fraud@v3"), []string{"It must stand in production"}},
		"another source":      {"/east/production", oto, "hf://meta-llama/llama@sha256:" + hex("00"), []string{"covered by no rule of this cluster in production"}},
		"a bucket":            {"/east/production", oto, "s3://elsewhere/fraud", []string{"covered by no rule"}},
		"who may not":         {"/east/production", "aal2:bo", good, []string{"Sallyport D-"}},
		"a weak proof":        {"/east/production", "none:oto", good, []string{"step-up"}},
		"nobody here":         {"/east/production", "kubernetes-admin", good, []string{"kubernetes-admin is nobody here"}},
		"suspended":           {"/east/production", "aal2:lea", good, []string{"Sallyport D-"}},
		"a path":              {"/east/production", oto, "hf://acme/fraud/../fraud@sha256:" + hex("00"), []string{"more than one way"}},
	} {
		a := s.review(x.path, creates(x.user, "inferenceservices.serving.kserve.io", service(x.uri)))
		if a.Allowed || a.Status == nil || a.Status.Code != http.StatusForbidden {
			t.Errorf("%s: %+v", name, a)
			continue
		}
		for _, want := range x.say {
			if !strings.Contains(a.Status.Message, want) {
				t.Errorf("%s: %q says nothing of %q", name, a.Status.Message, want)
			}
		}
	}
}

// TestEverythingThatRunsIsRead: wherever a manifest hides a model or an image, it is found.
func TestEverythingThatRunsIsRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tool := `"image":"registry.test/kserve/storage-initializer@sha256:` + hex("ee") + `"`
	pinned := "registry.test/models/fraud@sha256:" + s.digest("acme/fraud@v1")
	for name, spec := range map[string]string{
		"an image":               `{"containers":[{"image":"nginx"}]}`,
		"a tag of a model":       `{"containers":[{"image":"registry.test/models/fraud:v1"}]}`,
		"an init container":      `{"containers":[{` + tool + `}],"initContainers":[{"image":"busybox"}]}`,
		"an ephemeral container": `{"containers":[{` + tool + `}],"ephemeralContainers":[{"image":"busybox"}]}`,
		"an argument":            `{"containers":[{` + tool + `,"args":["--model","hf://evil/model"]}]}`,
		"a name":                 `{"containers":[{` + tool + `,"args":["--model=evil/model"]}]}`,
		"a name behind a flag":   `{"containers":[{` + tool + `,"args":["--model","evil/model","--revision","main"]}]}`,
		"a subcommand":           `{"containers":[{` + tool + `,"command":["/usr/bin/vllm","serve","evil/model"]}]}`,
		"a script":               `{"containers":[{` + tool + `,"command":["sh","-c","pip install x && vllm serve 'evil/model'"]}]}`,
		"an adapter":             `{"containers":[{` + tool + `,"args":["--lora-modules","a=evil/model"]}]}`,
		"a variable":             `{"containers":[{` + tool + `,"env":[{"name":"HF_MODEL_ID","value":"evil/model"}]}]}`,
		"an address in one":      `{"containers":[{` + tool + `,"env":[{"name":"X","value":"s3://evil/model"}]}]}`,
		"a variable from afar":   `{"containers":[{` + tool + `,"env":[{"name":"MODEL_ID","valueFrom":{"secretKeyRef":{"name":"x","key":"y"}}}]}]}`,
		"the Hub by https":       `{"containers":[{` + tool + `,"args":["curl https://huggingface.co/evil/model/resolve/main/x"]}]}`,
		"a claim":                `{"containers":[{` + tool + `}],"volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"other"}}]}`,
		"a host's path":          `{"containers":[{` + tool + `}],"volumes":[{"name":"v","hostPath":{"path":"/models"}}]}`,
		"a driver":               `{"containers":[{` + tool + `}],"volumes":[{"name":"v","csi":{"driver":"modelcar"}}]}`,
		"a volume of a new kind": `{"containers":[{` + tool + `}],"volumes":[{"name":"v","warp":{}}]}`,
		"a volume of an image":   `{"containers":[{` + tool + `}],"volumes":[{"name":"v","image":{"reference":"registry.test/models/fraud:v1"}}]}`,
		"a volume of a snapshot": `{"containers":[{` + tool + `}],"volumes":[{"name":"v","ephemeral":{"volumeClaimTemplate":{"spec":{"dataSource":{"name":"x"}}}}}]}`,
		"a digest of another":    `{"containers":[{"image":"registry.test/models/fraud@sha256:` + hex("99") + `"}]}`,
	} {
		for _, m := range []manifest{creates(oto, "pods", parse(t, pod(spec))),
			creates(oto, "deployments.apps", parse(t, `{"spec":{"template":`+pod(spec)+`}}`)),
			creates(oto, "cronjobs.batch", parse(t, `{"spec":{"jobTemplate":{"spec":{"template":`+pod(spec)+`}}}}`)),
			creates(oto, "inferenceservices.serving.kserve.io", parse(t, `{"spec":{"transformer":`+spec+`}}`))} {
			if a := s.review("/east/production", m); a.Allowed {
				t.Errorf("%s in %s is let in", name, m.resource)
			}
		}
	}
	for name, spec := range map[string]string{
		"a model's image":   `{"containers":[{"image":"` + pinned + `"}]}`,
		"a tag beside":      `{"containers":[{"image":"` + strings.Replace(pinned, "@", ":v1@", 1) + `"}]}`,
		"an approved claim": `{"containers":[{` + tool + `,"args":["--model","/mnt/models"]}],"volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"fraud-weights"}},{"name":"e","emptyDir":{}}]}`,
		"a pinned argument": `{"containers":[{"image":"docker.io/vllm/vllm-openai:x@sha256:` + hex("dd") + `","args":["--model","acme/fraud","--revision","` + s.digest("acme/fraud@v1")[:40] + `"]}]}`,
	} {
		if a := s.review("/east/production", creates(oto, "pods", parse(t, pod(spec)))); !a.Allowed {
			t.Errorf("%s: %s", name, a.Status.Message)
		}
	}
}

// TestEveryKind sends each kind of object that is known, with a model that is approved and one that is not.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	good, bad := "s3://models/fraud/"+s.digest("acme/fraud@v1")+"/", "s3://models/fraud/latest/"
	for resource, object := range map[string]string{
		"inferenceservices.serving.kserve.io":          `{"spec":{"predictor":{"sklearn":{"storageUri":"URI"}}}}`,
		"llminferenceservices.serving.kserve.io":       `{"spec":{"model":{"uri":"URI","name":"fraud"}}}`,
		"trainedmodels.serving.kserve.io":              `{"spec":{"inferenceService":"x","model":{"storageUri":"URI","framework":"sklearn"}}}`,
		"localmodelcaches.serving.kserve.io":           `{"spec":{"sourceModelUri":"URI","modelSize":"1Gi"}}`,
		"servingruntimes.serving.kserve.io":            `{"spec":{"containers":[{"name":"c","args":["--from=URI"]}]}}`,
		"llminferenceserviceconfigs.serving.kserve.io": `{"spec":{"model":{"uri":"URI"}}}`,
		"inferencegraphs.serving.kserve.io":            `{"spec":{"nodes":{"root":{"steps":[{"serviceName":"a"}]}},"x":{"modelUri":"URI"}}}`,
		"statefulsets.apps":                            `{"spec":{"template":{"spec":{"containers":[{"args":["URI"]}]}}}}`,
		"pods":                                         `{"metadata":{"annotations":{"internal.serving.kserve.io/storage-initializer-sourceuri":"URI"}},"spec":{"containers":[]}}`,
	} {
		for uri, want := range map[string]bool{good: true, bad: false} {
			a := s.review("/east/production", creates(oto, resource, parse(t, strings.ReplaceAll(object, "URI", uri))))
			if a.Allowed != want {
				t.Errorf("%s with %s: %+v %+v", resource, uri, a.Allowed, a.Status)
			}
		}
	}
	for _, refused := range []manifest{
		creates(oto, "virtualmachines.kubevirt.io", parse(t, `{"spec":{}}`)),
		creates(oto, "pods", parse(t, `{"spec":{"containers":[]}}`)).below("binding"),
		creates(oto, "inferenceservices.serving.kserve.io", parse(t, `{"spec":{"predictor":{"model":{"storage":{"key":"x","path":"y"}}}}}`)),
		creates(oto, "inferencegraphs.serving.kserve.io", parse(t, `{"spec":{"nodes":{"root":{"steps":[{"serviceUrl":"http://evil.test/"}]}}}}`)),
	} {
		if a := s.review("/east/production", refused); a.Allowed {
			t.Errorf("%s %s is let in", refused.resource, refused.sub)
		}
	}
	// What stands in no namespace has a path of its own, and what has one does not come by it.
	container := parse(t, `{"spec":{"container":{"image":"registry.test/kserve/storage-initializer@sha256:`+hex("ee")+`"},"supportedUriFormats":[{"prefix":"hf://"}]}}`)
	m := creates(oto, "clusterstoragecontainers.serving.kserve.io", container)
	if a := s.review("/east/cluster", m); a.Allowed {
		t.Error("an object of a namespace is let in by the way for those of none")
	}
	if m.namespace = ""; !s.review("/east/cluster", m).Allowed {
		t.Error("a storage container with an approved image is refused")
	}
	if s.review("/east/production", m).Allowed {
		t.Error("an object of no namespace is let in by the way of one")
	}
	if m.user = "aal2:ana"; s.review("/east/cluster", m).Allowed {
		t.Error("a storage container is let in for who may not administer servers")
	}
}

func (m manifest) below(sub string) manifest { m.sub = sub; return m }

// TestUpdatesAndSubresources: a change of what runs is decided like its beginning, and what does not touch it is let
// through; each subresource is an act of its own.
func TestUpdatesAndSubresources(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	old := service("s3://models/fraud/latest/") // let in before there was a webhook
	changed := parse(t, `{"metadata":{"labels":{"a":"b"}},"spec":{"predictor":{"model":{"modelFormat":{"name":"sklearn"},"storageUri":"s3://models/fraud/latest/"}}},"status":{"ready":true}}`)
	update := manifest{resource: "inferenceservices.serving.kserve.io", operation: "UPDATE", namespace: "ml", user: "aal2:bo", object: changed, old: old}
	if a := s.review("/east/production", update); !a.Allowed {
		t.Errorf("a label is refused: %s", a.Status.Message)
	}
	if a := s.review("/east/production", update.below("status")); !a.Allowed {
		t.Errorf("a status is refused: %s", a.Status.Message)
	}
	for name, object := range map[string]string{
		"replicas":      `{"spec":{"predictor":{"minReplicas":3,"model":{"modelFormat":{"name":"sklearn"},"storageUri":"s3://models/fraud/latest/"}}}}`,
		"an annotation": `{"metadata":{"annotations":{"x":"s3://models/fraud/v2"}},"spec":{"predictor":{"model":{"modelFormat":{"name":"sklearn"},"storageUri":"s3://models/fraud/latest/"}}}}`,
	} {
		m := update
		m.user, m.object = oto, parse(t, object)
		if s.review("/east/production", m).Allowed || s.review("/east/production", m.below("status")).Allowed {
			t.Errorf("%s changed and was let through", name)
		}
	}
	scale := manifest{resource: "deployments.apps", operation: "UPDATE", namespace: "ml", sub: "scale", object: parse(t, `{"spec":{"replicas":9}}`), old: parse(t, `{"spec":{"replicas":1}}`)}
	exec := manifest{resource: "pods", operation: "CONNECT", namespace: "ml", sub: "exec", object: parse(t, `{"command":["sh"]}`)}
	remove := manifest{resource: "pods", operation: "DELETE", namespace: "ml", old: parse(t, `{"spec":{}}`)}
	debug := manifest{resource: "pods", operation: "UPDATE", namespace: "ml", sub: "ephemeralcontainers", old: parse(t, `{"spec":{}}`),
		object: parse(t, `{"spec":{"ephemeralContainers":[{"image":"registry.test/kserve/storage-initializer@sha256:`+hex("ee")+`"}]}}`)}
	for _, m := range []manifest{scale, exec, remove, debug} {
		for user, want := range map[string]bool{oto: true, "aal2:ana": false, "aal2:bo": false} {
			m.user = user
			if a := s.review("/east/production", m); a.Allowed != want {
				t.Errorf("%s %s/%s by %s: %+v %+v", m.operation, m.resource, m.sub, user, a.Allowed, a.Status)
			}
		}
	}
}

// TestTheEnvironmentOfANamespace is changed by who manages the endpoints of both, and only to one there is.
func TestTheEnvironmentOfANamespace(t *testing.T) {
	s := newSite(t)
	labelled := func(env string) any {
		return map[string]any{"metadata": map[string]any{"name": "ml", "labels": map[string]any{"sallyport.dev/environment": env}}}
	}
	bare := parse(t, `{"metadata":{"name":"ml"}}`)
	for _, x := range []struct {
		user     string
		old, new any
		want     bool
	}{
		{oto, labelled("production"), labelled("development"), true},
		{"aal2:ana", labelled("production"), labelled("development"), false},
		{"aal2:ana", labelled("production"), bare, false},
		{"aal2:ana", bare, labelled("production"), false},
		{"aal2:ana", labelled("production"), labelled("production"), true},
		{"aal2:ana", bare, bare, true},
		{oto, labelled("production"), labelled("qa"), false},
	} {
		m := manifest{resource: "namespaces", operation: "UPDATE", namespace: "ml", user: x.user, object: x.new, old: x.old}
		if a := s.review("/east/cluster", m); a.Allowed != x.want {
			t.Errorf("%s %v to %v: %v, %+v", x.user, x.old, x.new, a.Allowed, a.Status)
		}
		if s.review("/east/production", m).Allowed {
			t.Error("a namespace is let in by the way of an environment")
		}
	}
}

// TestAControllerLoads what others deployed: as its own service, with the action of a server.
func TestAControllerLoads(t *testing.T) {
	s := newSite(t)
	image := pod(`{"containers":[{"image":"registry.test/models/fraud@sha256:` + s.digest("acme/fraud@v1") + `"}]}`)
	s.review("/east/production", creates("system:serviceaccount:kube-system:replicaset-controller", "pods", parse(t, image)))
	var decided []sallyport.Event
	for _, e := range s.Events() {
		if e.Type == sallyport.EventDecided && e.Action != sallyport.DecisionAsk {
			decided = append(decided, e)
		}
	}
	if n := len(decided); n == 0 || decided[n-1].Who != "service:server" || decided[n-1].Action != sallyport.ModelLoad || decided[n-1].On != "acme/fraud@v1" || decided[n-1].Asked.Client != "cluster:east" {
		t.Errorf("%+v", decided[max(0, n-1):])
	}
}

// TestItIsWrittenDown: each review is one record with its decisions, a dry run is marked as one, and without a log nothing
// is answered.
func TestItIsWrittenDown(t *testing.T) {
	s := newSite(t)
	m := creates(oto, "inferenceservices.serving.kserve.io", service("hf://acme/fraud@sha256:"+s.digest("acme/fraud@v1")))
	m.dryRun = true
	a := s.review("/east/production", m)
	events := s.Events()
	e := events[len(events)-1]
	if e.Type != sallyport.EventAdmission || e.Who != "user:oto" || e.Outcome != "allow" || e.Detail["dryRun"] != "true" || e.Detail["decisions"] != a.Annotations["decisions"] ||
		e.Detail["what"] != "CREATE inferenceservices.serving.kserve.io ml/fraud" || e.Detail["cluster"] != "east" {
		t.Errorf("%+v", e)
	}
	s.BreakLog()
	if code, _, _ := s.send("/east/production", s.token, m.body()); code != http.StatusServiceUnavailable {
		t.Errorf("without a log: %d", code)
	}
}

// TestOnlyTheClusterAsks, about what it may ask about.
func TestOnlyTheClusterAsks(t *testing.T) {
	other := east()
	other.Name, other.Principal = "west", "service:siem"
	s := newSite(t, other)
	m := creates(oto, "inferenceservices.serving.kserve.io", service("hf://acme/fraud@sha256:"+s.digest("acme/fraud@v1")))
	issue := func(id sallyport.PrincipalID, audience string) string {
		return s.Issue(sallyport.Principal{ID: id, Person: s.Person(id), Audience: audience, Scope: sallyport.Scope{"*"}, Expires: s.Clock.Now().Add(1 << 40)})
	}
	for name, x := range map[string]struct {
		path, token string
		code        int
	}{
		"no token":            {"/east/production", "", http.StatusUnauthorized},
		"another's token":     {"/east/production", issue("service:siem", audience), http.StatusNotFound},
		"a person's":          {"/east/production", issue("user:oto", audience), http.StatusNotFound},
		"another path":        {"/north/production", s.token, http.StatusNotFound},
		"no such environment": {"/east/staging", s.token, http.StatusNotFound},
		"no environment":      {"/east", s.token, http.StatusNotFound},
		"a longer path":       {"/east/production/x", s.token, http.StatusNotFound},
	} {
		if code, _, text := s.send(x.path, x.token, m.body()); code != x.code {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	code, a, _ := s.send("/west/production", issue("service:siem", audience), m.body())
	if code != http.StatusOK || a.Allowed || regexp.MustCompile(`\bv1\b`).MatchString(a.Status.Message) { // an id may hold it
		t.Errorf("a cluster that may not ask: %d %+v %+v", code, a.Allowed, a.Status)
	}
}

// TestOneReading refuses bodies with two, or none.
func TestOneReading(t *testing.T) {
	s := newSite(t)
	good := string(creates(oto, "pods", parse(t, `{"spec":{}}`)).body())
	for name, body := range map[string]string{
		"empty":            "",
		"an array":         "[]",
		"doubled":          strings.Replace(good, `"uid":"u-1"`, `"uid":"u-1","uid":"u-2"`, 1),
		"doubled inside":   strings.Replace(good, `"spec":{}`, `"spec":{"image":"a","image":"b"}`, 1),
		"unknown":          strings.Replace(good, `"uid":"u-1"`, `"uid":"u-1","x":1`, 1),
		"another version":  strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1),
		"no user":          strings.Replace(good, oto, "", 1),
		"an old CREATE":    strings.Replace(good, `"oldObject":null`, `"oldObject":{}`, 1),
		"no object":        strings.Replace(good, `"object":{"spec":{}}`, `"object":null`, 1),
		"another act":      strings.Replace(good, "CREATE", "PATCH", 1),
		"behind the value": good + "{}",
		"not UTF-8":        strings.Replace(good, `"fraud"`, "\"fr\xffaud\"", 1),
		"over the limit":   `{"x":"` + strings.Repeat("x", 7<<20) + `"}`,
	} {
		if code, _, text := s.send("/east/production", s.token, []byte(body)); code != http.StatusBadRequest && code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d %.200s", name, code, text)
		}
	}
}

// TestTheCorpus sends every question of the one corpus that an orchestrator can ask.
func TestTheCorpus(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sent := doortest.Run(t, s.World, s.cannot, func(t testing.TB, c doortest.Case) doortest.Said {
		a := s.review(s.path(c), s.say(c))
		return doortest.Said{Allowed: a.Allowed, Plain: true}
	})
	if sent < 9 {
		t.Errorf("%d cases were sent", sent)
	}
}

// cannot is why a case cannot be sent to an orchestrator, "" where it can.
func (s *site) cannot(c doortest.Case) string {
	ref, err := sallyport.ParseRef(c.Resource)
	x, there := s.Facts.Snapshot().Resolve(ref)
	switch {
	case err != nil || len(c.Actors) > 0 || c.Who.Kind() == sallyport.Agent:
		return "acts on behalf of somebody"
	case !c.Whole() || c.Risk > 0 || strings.HasPrefix(c.Hold, "session:"):
		return "of a token or a session"
	case c.Action != sallyport.ModelDeploy && c.Action != sallyport.EndpointManage && c.Action != sallyport.ServerAdmin && c.Action != sallyport.ModelScale:
		return "no act of an orchestrator"
	case c.Action == sallyport.ModelDeploy && (!there || x.Digest == ""), c.Action != sallyport.ModelDeploy && x.Kind != sallyport.EndpointKind:
		return "names no version and no endpoint"
	case c.To != "" && c.To != x.Environment:
		return "where the cluster finds no such version"
	case c.Who.Kind() == sallyport.Service && c.Assurance != sallyport.NoAssurance:
		return "a service that proves more than being one"
	}
	return ""
}

// path is a cluster of its own for each endpoint: the endpoint stands for the cluster in its environment.
func (s *site) path(c doortest.Case) string {
	ref, _ := sallyport.ParseRef(c.Resource)
	x, _ := s.Facts.Snapshot().Resolve(ref)
	if x.Kind != sallyport.EndpointKind {
		x.Name = "any"
	}
	k := east()
	k.Name = x.Name + "-" + string(x.Environment)
	k.Endpoints = map[sallyport.Environment]string{x.Environment: "endpoint:acme/" + x.Name}
	k.Scoped = ""
	checked, err := k.Check()
	if err != nil {
		s.t.Fatal(err)
	}
	s.door.Clusters[k.Name] = checked
	return "/" + k.Name + "/" + string(x.Environment)
}

// say is a case as an orchestrator asks it.
func (s *site) say(c doortest.Case) manifest {
	user := c.Assurance.String() + ":" + c.Who.Name()
	if c.Who.Kind() == sallyport.Service {
		user = "system:serviceaccount:ci:" + c.Who.Name()
	}
	m := manifest{resource: "pods", namespace: "ml", user: user, operation: "DELETE", old: map[string]any{}}
	switch c.Action {
	case sallyport.ServerAdmin:
		m.operation, m.sub, m.object, m.old = "CONNECT", "exec", map[string]any{}, nil
	case sallyport.ModelScale:
		m.operation, m.sub, m.object = "UPDATE", "scale", map[string]any{}
	case sallyport.ModelDeploy:
		ref, _ := sallyport.ParseRef(c.Resource)
		return creates(user, "inferenceservices.serving.kserve.io", service(fmt.Sprintf("hf://%s/%s@sha256:%s", ref.Org, ref.Name, s.digest(c.Resource))))
	}
	return m
}

func versions() []string {
	return []string{"acme/fraud@v1", "acme/fraud@v2", "acme/fraud@v3", "acme/base-7b@v1", "acme/base-7b@v2", "acme/frontier-70b@v1", "acme/demo@v1"}
}

// TestEverybodyOnEveryVersion compares the door with the guard's own answer about who may deploy what.
func TestEverybodyOnEveryVersion(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	asked, allowed := 0, 0
	for _, m := range s.Facts.Snapshot().Sorted() {
		if m.ID.Kind() != sallyport.User {
			continue
		}
		for _, name := range versions() {
			ref, err := sallyport.ParseRef(name)
			if err != nil {
				t.Fatal(err)
			}
			x, there := s.Facts.Snapshot().Resolve(ref)
			if !there {
				t.Fatal(name)
			}
			for _, level := range []sallyport.Assurance{sallyport.NoAssurance, sallyport.MultiFactor} {
				c := doortest.Case{Who: m.ID, Assurance: level, Action: sallyport.ModelDeploy, Resource: x.String(), Scope: sallyport.Scope{"*"}}
				want := s.Answer(t, c).Outcome == sallyport.Allow
				if got := s.review(s.path(c), s.say(c)).Allowed; got != want {
					t.Errorf("%s at %s deploys %s: the door says %v, the guard %v", m.ID, level, x, got, want)
				}
				if asked++; want {
					allowed++
				}
			}
		}
	}
	if asked < 100 || allowed == 0 || allowed == asked {
		t.Errorf("%d asked, %d allowed", asked, allowed)
	}
}

// FuzzParse: whatever a body is, it is read in one way or not at all, and what is read can be decided on.
func FuzzParse(f *testing.F) {
	f.Add(creates(oto, "pods", map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": "nginx"}}}}).body())
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`))
	f.Add([]byte(`{"request":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := admission.Parse(body)
		if err != nil {
			return
		}
		if q.UID == "" || q.User.Username == "" || q.Object == nil && q.Old == nil && q.Operation != admission.Connect {
			t.Errorf("%+v", q)
		}
	})
}
