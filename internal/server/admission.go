package server

import (
	"net/http"

	"sallyport"
	"sallyport/internal/enforce/admission"
	"sallyport/internal/enforce/gateway"
)

// AdmissionConfig says which clusters ask what may be let in.
type AdmissionConfig struct {
	Clusters []admission.Cluster `yaml:"clusters"`
}

// clusters are the clusters by name, checked.
func (a AdmissionConfig) clusters() (map[string]admission.Cluster, error) {
	by := make(map[string]admission.Cluster, len(a.Clusters))
	accounts := map[sallyport.PrincipalID]bool{}
	for _, c := range a.Clusters {
		checked, err := c.Check()
		if err != nil {
			return nil, err
		}
		if _, twice := by[c.Name]; twice || accounts[c.Principal] {
			return nil, sallyport.E("configuration", sallyport.Invalid, "the cluster "+c.Name+" or its account is there twice", "give each cluster a name and an account of its own")
		}
		by[c.Name], accounts[c.Principal] = checked, true
	}
	return by, nil
}

// openAdmission adds the door for clusters. Without one every path below it is refused and recorded.
func (s *Server) openAdmission(mux *http.ServeMux) error {
	clusters, err := s.config.Admission.clusters()
	if err != nil {
		return err
	}
	mux.Handle(admission.Prefix+"/", &admission.Door{Guard: s.guard, Audience: s.config.External + admission.Prefix, Clusters: clusters, Logger: s.logger, Clock: s.clock})
	return nil
}

// admissionCoverage is how much of what an API server can ask about is understood.
func admissionCoverage() gateway.Coverage {
	s := admission.Cover()
	return gateway.Coverage{Dialect: "kubernetes", Upstream: s.Asked, Mapped: s.Mapped, Denied: s.Refused, Missing: s.Missing}
}
