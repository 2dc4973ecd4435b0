package tlog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

const (
	maxPolicySize = 64 << 10
	maxPolicyKeys = 64
)

// Policy says which checkpoints to believe: signed by one of its logs and cosigned by its quorum of witnesses.
// The zero value believes nothing. A Policy does not change after it was parsed.
type Policy struct {
	logs      []note.Verifier
	witnesses []note.Verifier
	quorum    *group // nil: no cosignature is needed
}

// group is one named rule: at least k of its members, each a witness or a group, vouch for a checkpoint.
type group struct {
	witness note.Verifier // set for a single witness
	k       int
	members []*group
}

// ParsePolicy reads whom to trust: either one verifier key in the form name+hash+key of C2SP signed-note, which needs no
// cosignatures, or the text of a C2SP tlog-policy file. Log keys are Ed25519; witness keys are Ed25519 keys or
// cosignature/v1 keys of C2SP tlog-cosignature. URLs are accepted and ignored.
func ParsePolicy(text string) (*Policy, error) {
	if len(text) > maxPolicySize {
		return nil, fmt.Errorf("parse log policy: %d bytes, at most %d allowed", len(text), maxPolicySize)
	}
	if key := strings.TrimSpace(text); key != "" && !strings.ContainsAny(key, " \t\n#") {
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("parse log policy: verifier key %.80q: %w", key, err)
		}
		return &Policy{logs: []note.Verifier{v}}, nil
	}
	p := policyParser{names: map[string]*group{}, keys: map[string]bool{}, members: map[string]bool{}}
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := p.line(fields); err != nil {
			return nil, fmt.Errorf("parse log policy: line %d: %w", n, err)
		}
	}
	if !p.quorumSeen {
		return nil, errors.New("parse log policy: no quorum line; write \"quorum none\" if no cosignature is needed")
	}
	if len(p.policy.logs) == 0 {
		return nil, errors.New("parse log policy: no log line")
	}
	return &p.policy, nil
}

type policyParser struct {
	policy     Policy
	names      map[string]*group
	keys       map[string]bool // key bytes seen, to refuse one key under two names
	members    map[string]bool // names that are already in a group
	quorumSeen bool
}

func (p *policyParser) line(fields []string) error {
	switch word, args := fields[0], fields[1:]; {
	case word == "log" && (len(args) == 1 || len(args) == 2):
		return p.log(args[0])
	case word == "witness" && (len(args) == 2 || len(args) == 3):
		return p.witness(args[0], args[1])
	case word == "group" && len(args) >= 3:
		return p.group(args[0], args[1], args[2:])
	case word == "quorum" && len(args) == 1:
		return p.quorum(args[0])
	default:
		return fmt.Errorf("%.60q with %d words after it is not a policy line", word, len(args))
	}
}

func (p *policyParser) log(vkey string) error {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("log key %.80q: %w", vkey, err)
	}
	p.policy.logs = append(p.policy.logs, v)
	return p.key("log", vkey)
}

func (p *policyParser) witness(name, vkey string) error {
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return fmt.Errorf("witness key %.80q: %w", vkey, err)
	}
	p.policy.witnesses = append(p.policy.witnesses, v)
	if err := p.key("witness", vkey); err != nil {
		return err
	}
	return p.define(name, &group{witness: v})
}

// key refuses a second key line of one kind with the same public key, whatever its name and algorithm byte.
func (p *policyParser) key(kind, vkey string) error {
	id := kind + vkey[strings.LastIndexByte(vkey, '+')+1:]
	if len(p.keys) >= maxPolicyKeys {
		return fmt.Errorf("more than %d keys", maxPolicyKeys)
	}
	if p.keys[id] {
		return fmt.Errorf("%s key %.80q is listed twice", kind, vkey)
	}
	p.keys[id] = true
	return nil
}

func (p *policyParser) define(name string, g *group) error {
	if name == "none" || p.names[name] != nil {
		return fmt.Errorf("name %.60q is taken", name)
	}
	p.names[name] = g
	return nil
}

func (p *policyParser) group(name, threshold string, members []string) error {
	g := &group{}
	switch threshold {
	case "any":
		g.k = 1
	case "all":
		g.k = len(members)
	default:
		k, err := strconv.Atoi(threshold)
		if err != nil || k < 1 || k > len(members) || strconv.Itoa(k) != threshold {
			return fmt.Errorf("group %.60q: threshold %.20q is not any, all or 1 to %d", name, threshold, len(members))
		}
		g.k = k
	}
	for _, m := range members {
		if p.names[m] == nil || p.members[m] {
			return fmt.Errorf("group %.60q: member %.60q is unknown or already in a group", name, m)
		}
		p.members[m] = true
		g.members = append(g.members, p.names[m])
	}
	return p.define(name, g)
}

func (p *policyParser) quorum(name string) error {
	if p.quorumSeen {
		return errors.New("a second quorum line")
	}
	p.quorumSeen = true
	if name == "none" {
		return nil
	}
	if p.policy.quorum = p.names[name]; p.policy.quorum == nil {
		return fmt.Errorf("quorum %.60q is not defined above", name)
	}
	return nil
}

// Accepts reports whether p has a key for the log with this origin.
func (p *Policy) Accepts(origin string) bool {
	return slices.ContainsFunc(p.logs, func(v note.Verifier) bool { return v.Name() == origin })
}

// vouched reports whether the signatures found satisfy g.
func (g *group) vouched(sigs []note.Signature) bool {
	if g.witness != nil {
		return signedBy(sigs, g.witness)
	}
	n := 0
	for _, m := range g.members {
		if m.vouched(sigs) {
			n++
		}
	}
	return n >= g.k
}

func signedBy(sigs []note.Signature, v note.Verifier) bool {
	return slices.ContainsFunc(sigs, func(s note.Signature) bool { return s.Name == v.Name() && s.Hash == v.KeyHash() })
}

// WithoutQuorum returns p with its logs and without its need for cosignatures.
func (p *Policy) WithoutQuorum() *Policy { return &Policy{logs: p.logs} }
