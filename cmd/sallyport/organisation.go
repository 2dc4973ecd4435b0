package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"sallyport"
)

// An organisation is the file of apply; examples/acme/acme.yaml documents the fields.
type organisation struct {
	Organisation string        `yaml:"organisation"`
	Groups       []orgGroup    `yaml:"groups"`
	People       []orgPerson   `yaml:"people"`
	Services     []orgService  `yaml:"services"`
	Agents       []orgService  `yaml:"agents"`
	Roles        []orgRole     `yaml:"roles"`
	Assignments  []orgAssign   `yaml:"assignments"`
	Projects     []string      `yaml:"projects"`
	Models       []orgModel    `yaml:"models"`
	Datasets     []orgDataset  `yaml:"datasets"`
	Endpoints    []orgEndpoint `yaml:"endpoints"`
	Duties       []orgDuties   `yaml:"duties"`

	hash string // "sha256:…" of the file
}

type orgGroup struct {
	Name string   `yaml:"name"`
	In   []string `yaml:"in"`
}

type orgPerson struct {
	Name      string   `yaml:"name"`
	Display   string   `yaml:"display"`
	Groups    []string `yaml:"groups"`
	Person    string   `yaml:"person"`
	Suspended bool     `yaml:"suspended"`
}

type orgService struct {
	Name    string   `yaml:"name"`
	Owner   string   `yaml:"owner"`
	Purpose string   `yaml:"purpose"`
	Days    int      `yaml:"days"`
	Groups  []string `yaml:"groups"`
	// Environment is where it runs.
	Environment string `yaml:"environment"`
}

type orgRole struct {
	Name       string   `yaml:"name"`
	Inherits   []string `yaml:"inherits"`
	Privileged bool     `yaml:"privileged"`
}

type orgAssign struct {
	Role string   `yaml:"role"`
	To   []string `yaml:"to"`
	On   string   `yaml:"on"`
}

type orgItem struct {
	Name     string   `yaml:"name"`
	Project  string   `yaml:"project"`
	Class    string   `yaml:"class"`
	Owners   []string `yaml:"owners"`
	Purposes []string `yaml:"purposes"`
}

type orgDataset struct {
	orgItem     `yaml:",inline"`
	Environment string `yaml:"environment"`
}

type orgModel struct {
	orgItem  `yaml:",inline"`
	Versions []orgVersion `yaml:"versions"` // they come with a push; what the file says of them is not applied
}

type orgVersion struct {
	Number      string `yaml:"number"`
	Environment string `yaml:"environment"`
	PushedBy    string `yaml:"pushedBy"`
	TrainedBy   string `yaml:"trainedBy"`
}

type orgEndpoint struct {
	orgItem     `yaml:",inline"`
	Model       string `yaml:"model"`
	Environment string `yaml:"environment"`
}

type orgDuties struct {
	On        string   `yaml:"on"`
	Owner     []string `yaml:"owner"`
	Approver  []string `yaml:"approver"`
	Monitor   []string `yaml:"monitor"`
	Responder []string `yaml:"responder"`
}

// maxOrganisation bounds the file, in bytes.
const maxOrganisation = 4 << 20

// readOrganisation reads a file, strictly: unknown and doubled keys are errors.
func readOrganisation(name string) (organisation, error) {
	const op = "read organisation"
	var o organisation
	f, err := os.Open(name)
	if err != nil {
		return o, sallyport.E(op, sallyport.Invalid, err.Error(), "")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxOrganisation+1))
	if err != nil || len(text) > maxOrganisation {
		return o, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s cannot be read, or has more than %d bytes", name, maxOrganisation), "")
	}
	o.hash = fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&o); err != nil {
		return o, sallyport.E(op, sallyport.Invalid, name+": "+err.Error(), "examples/acme/acme.yaml shows every field")
	}
	if err := dec.Decode(new(organisation)); !errors.Is(err, io.EOF) {
		return o, sallyport.E(op, sallyport.Invalid, name+" holds more than one document", "keep one")
	}
	return o, sallyport.CheckName(op, o.Organisation)
}
