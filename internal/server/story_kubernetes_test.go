//go:build e2e

package server_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/enforce/admission"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

const kubeExamples = "../../examples/kubernetes/"

// anInstalledCluster is a real API server that asks a running Sallyport, set up with the files of examples/kubernetes:
// its account, its proof (a device's certificate), the webhooks, KServe's kinds and namespaces of each environment.
func anInstalledCluster(t *testing.T) (*story, *cluster) {
	t.Helper()
	if os.Getenv("SALLYPORT_TEST_KUBE_APISERVER") == "" {
		t.Skip("no API server of Kubernetes: set SALLYPORT_TEST_ETCD and SALLYPORT_TEST_KUBE_APISERVER to the programs (docs/kubernetes.md)")
	}
	r := tellAnew(t, trail.Files{})
	r.machine("east", "enforcement-point", "/admission", "decision.ask")
	adam := r.As("adam").who.client
	for name, env := range map[string]sallyport.Environment{"east": sallyport.Production, "east-staging": sallyport.Staging, "east-dev": sallyport.Development} {
		if _, err := adam.Add(t.Context(), api.Thing{Resource: "endpoint:acme/" + name, Project: "acme/risk", Class: sallyport.Internal, Environment: env}); err != nil {
			t.Fatal(err)
		}
	}
	example, err := os.ReadFile(kubeExamples + "sallyport.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := server.ParseConfig(example)
	if err != nil {
		t.Fatal(err)
	}
	east := c.Admission.Clusters[0]
	for i := range east.Users {
		if east.Users[i].Prefix != "" {
			east.Users[i].Assurance = "phr"
		}
	}
	east.Sources = append(east.Sources, admission.Source{From: "registry.acme.example/models/", To: "acme", Environments: []sallyport.Environment{sallyport.Development}})
	r.restartWith(func() { r.config.Admission = server.AdmissionConfig{Clusters: []admission.Cluster{east}} })

	dir := t.TempDir()
	proof, err := r.As("tess").Laptop("apiserver", "").PEM()
	if err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(dir, "device.pem")
	host := strings.TrimPrefix(r.server.External(), "https://")
	config, kubeconfig := filepath.Join(dir, "admission.yaml"), filepath.Join(dir, "kubeconfig")
	text, err := os.ReadFile(kubeExamples + "apiserver.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.NewReplacer("/etc/kubernetes/sallyport.kubeconfig", kubeconfig, "sallyport.example:7443", host,
		"/etc/kubernetes/pki/sallyport-device.crt", device, "/etc/kubernetes/pki/sallyport-device.key", device).Replace(string(text)), "\n---\n")
	for path, text := range map[string]string{device: string(proof.Reveal()), config: parts[0], kubeconfig: parts[1]} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k := startCluster(t, map[string]string{"root-token": "root " + masters, "oto-token": "oidc:oto " + masters + ",ml-engineers", "bo-token": "oidc:bo " + masters + ",ml-engineers",
		"eve-token": "oidc:eve " + masters, "controller-token": "system:serviceaccount:kube-system:replicaset-controller " + masters}, config)
	k.install(r)
	return r, k
}

// install gives a cluster KServe's kind and another one of its group, a namespace of each environment, and the webhooks.
func (c *cluster) install(r *story) {
	for _, kind := range []string{"InferenceService", "Surprise"} {
		plural := strings.ToLower(kind) + "s"
		c.must("root-token", http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: `+plural+`.serving.kserve.io}
spec:
  group: serving.kserve.io
  scope: Namespaced
  names: {plural: `+plural+`, singular: `+strings.ToLower(kind)+`, kind: `+kind+`}
  versions:
    - {name: v1beta1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`)
	}
	for _, env := range []string{"development", "staging", "production", ""} {
		label := `{sallyport.dev/environment: ` + env + `}`
		if env == "" {
			label = "{}"
		}
		c.must("root-token", http.MethodPost, "/api/v1/namespaces", `{apiVersion: v1, kind: Namespace, metadata: {name: ml-`+env+`x, labels: `+label+`}}`)
	}
	ca, err := os.ReadFile(r.server.CA())
	if err != nil {
		r.t.Fatal(err)
	}
	hooks, err := os.ReadFile(kubeExamples + "webhook.yaml")
	if err != nil {
		r.t.Fatal(err)
	}
	c.must("root-token", http.MethodPost, "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
		strings.NewReplacer("https://sallyport.example:7443", r.server.External(), "LS0tLS1CRUdJTi...", base64.StdEncoding.EncodeToString(ca)).Replace(string(hooks)))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) { // the API server takes a moment to ask
		if a := c.pod("root-token", "developmentx", "x", "x", "?dryRun=All"); strings.Contains(a.Message, "development.sallyport.dev") {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatal("the API server does not ask")
		}
	}
}

// pod asks for a pod of one container, with more members of its manifest beside the image.
func (c *cluster) pod(token, namespace, name, image, query string, more ...string) told {
	c.t.Helper()
	return c.do(token, http.MethodPost, "/api/v1/namespaces/ml-"+namespace+"/pods"+query,
		`{apiVersion: v1, kind: Pod, metadata: {name: `+name+`}, spec: {containers: [{name: c, image: "`+image+`"`+strings.Join(append([]string{""}, more...), ", ")+`}]}}`)
}

// service asks for a KServe InferenceService whose model lies at an address.
func (c *cluster) service(token, namespace, name, uri, query string) told {
	c.t.Helper()
	return c.do(token, http.MethodPost, "/apis/serving.kserve.io/v1beta1/namespaces/ml-"+namespace+"/inferenceservices"+query,
		`{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: `+name+`}, spec: {predictor: {model: {modelFormat: {name: huggingface}, storageUri: "`+uri+`"}}}}`)
}

// TestPeersKubernetesAdmission: a real API server, set up as the examples say, stores what Sallyport lets in and nothing
// else; what it tells the user is Sallyport's sentence, and a Sallyport that does not answer lets nothing in.
func TestPeersKubernetesAdmission(t *testing.T) {
	r, k := anInstalledCluster(t)
	version, err := r.As("ana").who.client.Manifest(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	image, uri := "registry.acme.example/models/"+strings.TrimPrefix(base, "acme/")+"@sha256:"+version.Digest, "hf://"+base+"@sha256:"+version.Digest
	for _, x := range []struct {
		name string
		got  told
		code int
		say  []string
	}{
		{"an approved image", k.pod("oto-token", "developmentx", "good", image, ""), http.StatusCreated, nil},
		{"an approved model", k.service("oto-token", "developmentx", "good", uri, ""), http.StatusCreated, nil},
		{"a tag", k.pod("oto-token", "developmentx", "tag", "registry.acme.example/models/base:latest", ""), http.StatusForbidden, []string{
			`admission webhook "development.sallyport.dev" denied the request`, "spec.containers[0].image: Sallyport D-", "is not pinned", "sallyport show acme/base"}},
		{"a stranger's image", k.pod("oto-token", "developmentx", "stranger", "docker.io/library/redis:7", ""), http.StatusForbidden, []string{"Sallyport D-", "is covered by no rule"}},
		{"another environment", k.pod("oto-token", "productionx", "early", image, ""), http.StatusForbidden, []string{`"production.sallyport.dev"`, "Sallyport D-", "It must stand in production"}},
		{"a model elsewhere", k.service("oto-token", "productionx", "early", uri, ""), http.StatusForbidden, []string{"Sallyport D-", "It must stand in production"}},
		{"a branch", k.service("oto-token", "developmentx", "branch", "hf://acme/base:main", ""), http.StatusForbidden, []string{"spec.predictor.model.storageUri: Sallyport D-", "is not pinned"}},
		{"a bucket", k.service("oto-token", "developmentx", "bucket", "s3://acme-models/base", ""), http.StatusForbidden, []string{"is covered by no rule"}},
		{"without a label", k.service("oto-token", "x", "good", uri, ""), http.StatusForbidden, []string{`"unlabelled.sallyport.dev"`, "stands in no environment"}},
		{"a model in an argument", k.pod("oto-token", "developmentx", "argument", image, "", `args: ["--model", "acme/fraud"]`), http.StatusForbidden, []string{"hf://acme/fraud is not pinned"}},
		{"a model in a variable", k.pod("oto-token", "developmentx", "variable", image, "", `env: [{name: STORAGE_URI, value: "s3://elsewhere/model"}]`), http.StatusForbidden, []string{"is covered by no rule"}},
		{"nobody here", k.pod("root-token", "developmentx", "root", image, ""), http.StatusForbidden, []string{"the cluster's user root is nobody here"}},
		{"without the group", k.pod("eve-token", "developmentx", "eve", image, ""), http.StatusForbidden, []string{"is nobody here"}},
		{"no right to deploy", k.pod("bo-token", "developmentx", "bo", image, ""), http.StatusForbidden, []string{"Sallyport D-"}},
		{"a kind of tomorrow", k.do("oto-token", http.MethodPost, "/apis/serving.kserve.io/v1beta1/namespaces/ml-developmentx/surprises",
			`{apiVersion: serving.kserve.io/v1beta1, kind: Surprise, metadata: {name: s}, spec: {}}`), http.StatusForbidden, []string{"does not know surprises.serving.kserve.io"}},
		{"a field of tomorrow", k.do("oto-token", http.MethodPost, "/apis/serving.kserve.io/v1beta1/namespaces/ml-developmentx/inferenceservices",
			`{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: f}, spec: {predictor: {model: {storageUri: "`+uri+`"}, draft: {adapterUri: "s3://x/y"}}}}`),
			http.StatusForbidden, []string{"spec.predictor.draft.adapterUri", "is covered by no rule"}},
		{"a shell in a running pod", k.do("bo-token", http.MethodPost, "/api/v1/namespaces/ml-developmentx/pods/good/exec?command=sh&stdin=true", ""), http.StatusForbidden, []string{"Sallyport D-"}},
		{"another environment by a label", k.do("oto-token", http.MethodPatch, "/api/v1/namespaces/ml-developmentx", `{metadata: {labels: {sallyport.dev/environment: everywhere}}}`),
			http.StatusForbidden, []string{`"cluster.sallyport.dev"`, "no environment of this cluster is called everywhere"}},
		{"a dry run", k.service("oto-token", "developmentx", "dry", uri, "?dryRun=All"), http.StatusCreated, nil},
	} {
		if x.got.code != x.code {
			t.Errorf("%s: %d %s", x.name, x.got.code, x.got.Message)
		}
		for _, say := range x.say {
			if !strings.Contains(x.got.Message, say) {
				t.Errorf("%s: %q says nothing of %q", x.name, x.got.Message, say)
			}
		}
		if x.code == http.StatusForbidden {
			t.Logf("%s: %s", x.name, x.got.Message)
		}
	}
	k.unanswered(r, image)
	dry, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventAdmission && e.Detail["dryRun"] == "true" && e.Who == "user:oto"
	})
	if !ok || dry.Outcome != allowed || dry.Detail["environment"] != "development" {
		t.Errorf("the log says of the dry run: %+v", dry)
	}
}

// unanswered: a Sallyport that is held says so, one that is away lets nothing in, and neither is remembered afterwards.
func (c *cluster) unanswered(r *story, image string) {
	c.t.Helper()
	hold := r.As("rita").Lock("model:" + base)
	if a := c.pod("oto-token", "developmentx", "held", image, ""); a.code != http.StatusForbidden || !strings.Contains(a.Message, "locked") {
		c.t.Errorf("held: %d %s", a.code, a.Message)
	}
	r.As("ravi").Unlock(hold, "looked at").WantStatus(http.StatusOK)
	r.restartWith(func() {
		if a := c.pod("oto-token", "developmentx", "away", image, ""); a.code != http.StatusInternalServerError || !strings.Contains(a.Message, "failed calling webhook") {
			c.t.Errorf("while Sallyport is away: %d %s", a.code, a.Message)
		}
		if a := c.do("root-token", http.MethodGet, "/api/v1/namespaces/ml-developmentx/pods/away", ""); a.code != http.StatusNotFound {
			c.t.Errorf("what nobody let in is there: %d", a.code)
		}
	})
	c.must("oto-token", http.MethodPost, "/api/v1/namespaces/ml-developmentx/pods", `{apiVersion: v1, kind: Pod, metadata: {name: back}, spec: {containers: [{name: c, image: "`+image+`"}]}}`)
}

// TestPeersKubernetesJob: the completion of a job of a real API server ends what was granted for it, within five seconds,
// asked with a service account's token that may read jobs and nothing else, as examples/kubernetes/tasks.yaml has it.
func TestPeersKubernetesJob(t *testing.T) {
	none := filepath.Join(t.TempDir(), "admission.yaml")
	if err := os.WriteFile(none, []byte(`{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	k := startCluster(t, map[string]string{"root-token": "root " + masters}, none)
	rights, err := os.ReadFile(kubeExamples + "tasks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	k.must("root-token", http.MethodPost, "/api/v1/namespaces", `{apiVersion: v1, kind: Namespace, metadata: {name: training}}`)
	docs := strings.Split(string(rights), "\n---\n")
	for i, path := range []string{"/api/v1/namespaces/training/serviceaccounts", "/apis/rbac.authorization.k8s.io/v1/namespaces/training/roles", "/apis/rbac.authorization.k8s.io/v1/namespaces/training/rolebindings"} {
		k.must("root-token", http.MethodPost, path, docs[i])
	}
	token := k.must("root-token", http.MethodPost, "/api/v1/namespaces/training/serviceaccounts/sallyport/token",
		`{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, spec: {expirationSeconds: 600}}`).Status.Token
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	const jobs = "/apis/batch/v1/namespaces/training/jobs"
	for _, name := range []string{"first", "second"} {
		k.must("root-token", http.MethodPost, jobs, `{apiVersion: batch/v1, kind: Job, metadata: {name: `+name+`}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: trainer}]}}}}`)
	}
	if a := k.do(token, http.MethodGet, "/api/v1/namespaces/training/secrets", ""); a.code != http.StatusForbidden {
		t.Errorf("the account reads secrets: %d", a.code)
	}

	r := tellAnew(t, trail.Files{})
	r.restartWith(func() {
		r.config.Tasks = []server.TaskConnector{{Name: "prod", Kind: "kubernetes", URL: k.url, TokenFile: file, CAFile: k.ca}}
	})
	ends := func(job string, end func()) {
		t.Helper()
		r.withTask("kubernetes:prod/training/" + job)
		for range 4 { // it is asked about every second
			r.As("ana").Pull(fraud)
			r.Want(allowed, "weights.granted")
			time.Sleep(time.Second)
		}
		end()
		t.Logf("the grant ended %s after the job %s", r.gone(time.Now()).Round(10*time.Millisecond), job)
	}
	ends("first", func() {
		now := time.Now().UTC().Format(time.RFC3339)
		condition := func(kind string) string {
			return `{type: ` + kind + `, status: "True", reason: CompletionsReached, message: done, lastProbeTime: "` + now + `", lastTransitionTime: "` + now + `"}`
		}
		k.must("root-token", http.MethodPatch, jobs+"/first/status", `{status: {startTime: "`+now+`", completionTime: "`+now+`", succeeded: 1, ready: 0, terminating: 0, uncountedTerminatedPods: {},
  conditions: [`+condition("SuccessCriteriaMet")+`, `+condition("Complete")+`]}}`)
	})
	ends("second", func() { k.must("root-token", http.MethodDelete, jobs+"/second", "") })
	if e, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventGrantEnded && e.Detail["task"] == "kubernetes:prod/training/first"
	}); !ok || e.Who != "system" && e.Who == "" {
		t.Errorf("the end is not in the log: %+v", e)
	}
}
