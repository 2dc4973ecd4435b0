package extauthz

import (
	"slices"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Surface counts what proxies can ask and say.
type Surface struct {
	Asked   int      // things in the lists
	Mapped  int      // that are part of a question
	Refused int      // that are known, and decide nothing
	Missing []string // that are neither: they decide nothing all the same
	Extra   int      // that we name and the lists do not
}

// Cover compares what is read of a question with what can be asked: the methods of Envoy's service and every member of its
// question, as their own descriptor lists them, and the proxies' HTTP forms. An Envoy that says more shows up here with the
// next version of its API.
func Cover() Surface {
	ours, s := understood(), Surface{Missing: []string{}}
	for _, name := range offered() {
		s.Asked++
		switch read, known := ours[name]; {
		case !known:
			s.Missing = append(s.Missing, name)
		case read == "":
			s.Mapped++
		default:
			s.Refused++
		}
		delete(ours, name)
	}
	s.Extra = len(ours)
	return s
}

// offered is everything that a proxy can ask or say.
func offered() []string {
	all := []string{"HTTP envoy", "HTTP nginx", "HTTP caddy"}
	file := authv3.File_envoy_service_auth_v3_external_auth_proto
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			all = append(all, "gRPC "+string(methods.Get(j).FullName()))
		}
	}
	all = append(all, members("", (*authv3.CheckRequest)(nil).ProtoReflect().Descriptor())...)
	slices.Sort(all)
	return all
}

// members are the names of a message's members; those of this API's own messages are followed down.
func members(at string, m protoreflect.MessageDescriptor) []string {
	var all []string
	fields := m.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		name := strings.TrimPrefix(at+"."+string(f.Name()), ".")
		if below := f.Message(); below != nil && !f.IsMap() && below.ParentFile().Package() == m.ParentFile().Package() {
			all = append(all, members(name, below)...)
			continue
		}
		all = append(all, name)
	}
	return all
}

// understood is what becomes of each thing that can be asked or said: "" where it is part of the question, or why it
// decides nothing.
func understood() map[string]string {
	const http, source, destination = "attributes.request.http.", "attributes.source.", "attributes.destination."
	return map[string]string{
		"gRPC envoy.service.auth.v3.Authorization.Check": "",
		"HTTP envoy": "", "HTTP nginx": "", "HTTP caddy": "",
		"attributes.context_extensions": "", http + "method": "", http + "path": "", http + "host": "", http + "headers": "", http + "header_map": "",
		http + "body": "", http + "raw_body": "", source + "address": "", source + "certificate": "",

		source + "service":                  "where it comes from inside the mesh proves nobody",
		source + "labels":                   "a label proves nobody",
		source + "principal":                "a name without its certificate proves nobody",
		destination + "address":             "what stands behind the proxy is registered, not said",
		destination + "service":             "what stands behind the proxy is registered, not said",
		destination + "labels":              "what stands behind the proxy is registered, not said",
		destination + "principal":           "what stands behind the proxy is registered, not said",
		destination + "certificate":         "what stands behind the proxy is registered, not said",
		"attributes.request.time":           "the time is the guard's own",
		http + "id":                         "the decision has an id of its own",
		http + "scheme":                     "the upstream's origin is registered, not said",
		http + "query":                      "it stands in path",
		http + "fragment":                   "it is no part of a request",
		http + "size":                       "the length of the body is held against the field that the client sent",
		http + "protocol":                   "no question depends on it",
		"attributes.metadata_context":       "what other filters found out proves nobody",
		"attributes.route_metadata_context": "which upstream is meant stands in context_extensions",
		"attributes.tls_session.sni":        "the name that was asked for in the handshake decides nothing: the host does",
	}
}
