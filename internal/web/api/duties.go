package api

// Duties are who answers for a model, a dataset, an endpoint, or what contains them: subjects, as "user:ana" or
// "group:acme/risk".
type Duties struct {
	Resource  string   `json:"resource"`
	Owner     []string `json:"owner,omitempty"`     // answers for it; accounts only
	Approver  []string `json:"approver,omitempty"`  // approves access to it
	Monitor   []string `json:"monitor,omitempty"`   // watches how it is used
	Responder []string `json:"responder,omitempty"` // responds to incidents about it
	// From names, by duty, the project or the organisation that it comes from, where that is not the resource itself.
	From map[string]string `json:"from,omitempty"`
	// Missing are the duties that nobody has who can act.
	Missing []string `json:"missing,omitempty"`
}
