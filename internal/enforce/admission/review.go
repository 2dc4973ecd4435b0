package admission

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	strict "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sallyport"
)

// A Review is an AdmissionReview of admission.k8s.io/v1, as it is answered.
type Review struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Response   Response `json:"response"`
}

// A Response is the answer to one request.
type Response struct {
	UID         string            `json:"uid"`
	Allowed     bool              `json:"allowed"`
	Status      *Status           `json:"status,omitempty"`
	Annotations map[string]string `json:"auditAnnotations,omitempty"` // go into the cluster's audit log
}

// A Status says why, in the words that kubectl prints.
type Status struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// A Request is the part of an AdmissionReview that is decided on.
type Request struct {
	UID         string    `json:"uid"`
	Kind        GVK       `json:"kind"`
	Resource    GVR       `json:"resource"`
	Subresource string    `json:"subResource"`
	Name        string    `json:"name"`
	Namespace   string    `json:"namespace"`
	Operation   Operation `json:"operation"`
	User        UserInfo  `json:"userInfo"`
	DryRun      bool      `json:"dryRun"`
	Object      any       `json:"-"` // nil where there is none
	Old         any       `json:"-"`
}

// An Operation is what is done to an object.
type Operation string

// The operations.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// A GVK names a kind.
type GVK struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// A GVR names a resource.
type GVR struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

// String is the resource as kubectl names it: "deployments.apps".
func (r GVR) String() string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

// UserInfo is whom the cluster has authenticated.
type UserInfo struct {
	Username string              `json:"username"`
	UID      string              `json:"uid"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

// maxText bounds the names in a review; maxGroups the groups of its user.
const (
	maxText   = 512
	maxGroups = 1024
)

// Parse reads an AdmissionReview, strictly: no member twice, no unknown member of the request, no text that is not UTF-8,
// nothing behind the value.
func Parse(body []byte) (Request, error) {
	var review struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Request    jsontext.Value `json:"request"`
		Response   jsontext.Value `json:"response"`
	}
	var envelope struct {
		Request
		RequestKind        jsontext.Value `json:"requestKind"`
		RequestResource    jsontext.Value `json:"requestResource"`
		RequestSubresource string         `json:"requestSubResource"`
		Options            jsontext.Value `json:"options"`
		Object             jsontext.Value `json:"object"`
		OldObject          jsontext.Value `json:"oldObject"`
	}
	if err := strict.Unmarshal(body, &review, strict.RejectUnknownMembers(true)); err != nil {
		return Request{}, unread(err)
	}
	if review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" {
		return Request{}, invalid("it is no AdmissionReview of admission.k8s.io/v1", "set admissionReviewVersions to [v1]")
	}
	if err := strict.Unmarshal(review.Request, &envelope, strict.RejectUnknownMembers(true)); err != nil {
		return Request{}, unread(err)
	}
	q := envelope.Request
	var err error
	if q.Object, err = object(envelope.Object); err == nil {
		q.Old, err = object(envelope.OldObject)
	}
	if err != nil {
		return Request{}, err
	}
	return q, q.check()
}

// object reads an object of the cluster.
func object(raw jsontext.Value) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var v any
	if err := strict.Unmarshal(raw, &v); err != nil {
		return nil, unread(err)
	}
	switch v.(type) {
	case nil, map[string]any:
		return v, nil
	}
	return nil, invalid("an object is something else", "")
}

func (q Request) check() error {
	for name, text := range map[string]string{"uid": q.UID, "resource": q.Resource.Resource, "user": q.User.Username, "kind": q.Kind.Kind} {
		if text == "" {
			return invalid("it has no "+name, "")
		}
	}
	for _, text := range append([]string{q.UID, q.Resource.Resource, q.Resource.Group, q.User.Username, q.Kind.Kind, q.Name, q.Namespace, q.Subresource}, q.User.Groups...) {
		if len(text) > maxText {
			return invalid(fmt.Sprintf("a name in it is over %d bytes", maxText), "")
		}
	}
	if len(q.User.Groups) > maxGroups {
		return invalid(fmt.Sprintf("its user is in over %d groups", maxGroups), "")
	}
	has := map[Operation][2]bool{Create: {true, false}, Update: {true, true}, Delete: {false, true}, Connect: {true, false}}
	want, known := has[q.Operation]
	if !known {
		return invalid(fmt.Sprintf("no operation is called %.20q", string(q.Operation)), "")
	}
	if (q.Object == nil) == want[0] || (q.Old == nil) == want[1] && q.Operation != Connect {
		return invalid("it has not the objects that its operation has", "")
	}
	return nil
}

// what names the object of a request for people: "CREATE deployments.apps ml/fraud".
func (q Request) what() string {
	name := q.Name
	if name == "" {
		name = text(q.Object, "metadata", "generateName") + "*"
	}
	if q.Namespace != "" {
		name = q.Namespace + "/" + name
	}
	resource := q.Resource.String()
	if q.Subresource != "" {
		resource += "/" + q.Subresource
	}
	return sallyport.OneLine(string(q.Operation) + " " + resource + " " + name)
}

// member is what stands at a path of an object, nil where nothing does.
func member(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// text is member as text.
func text(v any, path ...string) string {
	s, _ := member(v, path...).(string)
	return s
}

// same reports whether two parts of objects say the same.
func same(a, b any) bool {
	x, errX := json.Marshal(a) // members in the order of their names
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func unread(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return invalid("it cannot be read: "+sallyport.OneLine(text), "")
}

func invalid(text, next string) error {
	return sallyport.E("read review", sallyport.Invalid, text, next)
}
