package admission

import "sallyport"

// A class says what a kind is to a model.
type class int

const (
	unknown   class = iota
	workload        // runs what it names: model.deploy, by a controller model.load
	loads           // has a server or a node take a model: model.load
	runtime         // is how servers run, whatever they run: server.admin too
	namespace       // is where environments are written
)

// classOf is what a resource is to a model. What is not here is refused whenever the webhook is asked about it.
func classOf(r GVR) class {
	switch r.Group {
	case "":
		switch r.Resource {
		case "pods", "podtemplates", "replicationcontrollers":
			return workload
		case "namespaces":
			return namespace
		}
	case "apps":
		switch r.Resource {
		case "deployments", "statefulsets", "daemonsets", "replicasets":
			return workload
		}
	case "batch":
		switch r.Resource {
		case "jobs", "cronjobs":
			return workload
		}
	case "serving.kserve.io":
		switch r.Resource {
		case "inferenceservices", "llminferenceservices", "inferencegraphs":
			return workload
		case "trainedmodels", "localmodelcaches", "localmodelnamespacecaches", "localmodelnodes":
			return loads
		case "servingruntimes", "clusterservingruntimes", "clusterstoragecontainers", "llminferenceserviceconfigs", "localmodelnodegroups":
			return runtime
		}
	}
	return unknown
}

// A task is what has to be decided about a request, before its claims are known.
type task struct {
	refuse  string           // why nothing has to be decided, "" where something has
	next    string           // what to do instead
	claims  bool             // everything that the object names is decided on
	models  sallyport.Action // on each model that it names
	also    sallyport.Action // on the endpoint, "" = only where no model is named
	nothing bool             // what runs stays as it is
}

// taskOf reads a request's kind, subresource and operation.
func taskOf(q Request, controller bool) task {
	c := classOf(q.Resource)
	if c == unknown || c == namespace && q.Subresource != "" {
		return task{refuse: "this webhook does not know " + sallyport.OneLine(q.Resource.String()), next: "do not send it here, or ask for support of this kind"}
	}
	if q.Subresource != "" {
		return ofSubresource(q)
	}
	t := task{claims: true, models: sallyport.ModelDeploy}
	if c == loads || controller {
		t.models = sallyport.ModelLoad
	}
	if c == runtime {
		t.also = sallyport.ServerAdmin
	}
	switch {
	case q.Operation == Delete || c == namespace:
		return task{also: sallyport.EndpointManage}
	case q.Operation == Connect:
		return task{refuse: "there is nothing to connect to in this kind"}
	case q.Operation == Update && unchanged(q):
		return task{nothing: true}
	}
	return t
}

func ofSubresource(q Request) task {
	switch q.Subresource {
	case "ephemeralcontainers": // a stranger's program beside a model's files
		return task{claims: true, models: sallyport.ModelDeploy, also: sallyport.ServerAdmin}
	case "exec", "attach", "portforward", "proxy":
		return task{also: sallyport.ServerAdmin}
	case "scale":
		return task{also: sallyport.ModelScale}
	case "eviction":
		return task{also: sallyport.EndpointManage}
	case "status":
		if unchanged(q) {
			return task{nothing: true}
		}
	}
	return task{refuse: "this webhook does not know the subresource " + sallyport.OneLine(q.Subresource), next: "do not send it here"}
}

// unchanged reports whether an update leaves what runs as it is: everything but metadata without meaning and the status.
func unchanged(q Request) bool {
	before, errB := claims(q.Old)
	after, errA := claims(q.Object)
	if errA != nil || errB != nil || len(before) != len(after) {
		return false
	}
	for i := range after {
		if after[i] != before[i] {
			return false
		}
	}
	return same(meaning(q.Old), meaning(q.Object))
}

// meaning is an object without its status and its metadata.
func meaning(object any) map[string]any {
	m, _ := object.(map[string]any)
	rest := map[string]any{}
	for k, v := range m {
		if k != "status" && k != "metadata" {
			rest[k] = v
		}
	}
	return rest
}
