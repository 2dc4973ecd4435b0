package credential

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// cost is what one Argon2id computation takes.
type cost struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

// floorCost is the least that is used for new hashes: 19 MiB, two passes, one lane.
func floorCost() cost { return cost{memory: 19 * 1024, passes: 2, threads: 1} }

// Limits on what a stored hash may demand, so that a changed row cannot exhaust memory.
const (
	mostMemory  = 256 * 1024 // KiB
	mostPasses  = 16
	mostThreads = 16
)

// A phc is an Argon2id hash in the PHC string format: $argon2id$v=19$m=..,t=..,p=..,keyid=..$salt$hash. keyid names the
// pepper.
type phc struct {
	cost  cost
	keyid []byte // 4 bytes
	salt  []byte // 8 to 64 bytes
	hash  []byte // 16 to 64 bytes
}

var errPHC = errors.New("credential: not a hash that was written here")

func (p phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d,keyid=%s$%s$%s", p.cost.memory, p.cost.passes, p.cost.threads, b64(p.keyid), b64(p.salt), b64(p.hash))
}

// parsePHC reads what String writes and nothing else: one spelling a hash.
func parsePHC(s string) (phc, error) {
	part := strings.Split(s, "$")
	if len(s) > 512 || len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v=19" {
		return phc{}, errPHC
	}
	var p phc
	param := strings.Split(part[3], ",")
	if len(param) != 4 {
		return phc{}, errPHC
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(param[i], name)
		v, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || v == 0 {
			return phc{}, errPHC
		}
		n[i] = v
	}
	if n[0] > mostMemory || n[1] > mostPasses || n[2] > mostThreads || n[0] < 8*n[2] {
		return phc{}, errPHC
	}
	p.cost = cost{memory: uint32(n[0]), passes: uint32(n[1]), threads: uint8(n[2])}
	var ok [3]bool
	keyid, named := strings.CutPrefix(param[3], "keyid=")
	p.keyid, ok[0] = decode(keyid, 4, 4)
	p.salt, ok[1] = decode(part[4], 8, 64)
	p.hash, ok[2] = decode(part[5], 16, 64)
	if !named || ok != [3]bool{true, true, true} || p.String() != s {
		return phc{}, errPHC
	}
	return p, nil
}

func decode(s string, least, most int) ([]byte, bool) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) >= least && len(b) <= most
}
