package detect

import (
	"strconv"
	"strings"
	"time"

	"sallyport"
)

// A service moves within redeploy, also while two of it run. glance is how often it is looked at which network it is in.
const (
	redeploy = 15 * time.Minute
	glance   = 30 * time.Second
)

// service finds a credential of a service, the key of a client or the proof of a workload, that is in two networks by turns and for
// longer than anybody takes to move a service. Hosts of one service that have each their own are as many credentials. Each door is
// looked at by itself: a host may reach two of them by two ways.
func (d *Detector) service(e *sallyport.Logged) (hit, bool) {
	if e.Asked == nil || e.Who.Kind() != sallyport.Service || e.Type != sallyport.EventTokenIssued && e.Type != sallyport.EventDecided {
		return hit{}, false
	}
	if e.Type == sallyport.EventTokenIssued {
		d.seen.credential(e.Asked.Family, e.Detail["credential"])
	}
	credential, network := d.seen.credentials[e.Asked.Family], d.Network(e.Asked.IP)
	if credential == "" || network == "" {
		return hit{}, false
	}
	key := strings.Join([]string{SharedCredential, credential, e.Asked.Door, strconv.FormatBool(strings.Contains(e.Asked.IP, ":"))}, " ")
	marks, ok := d.turns(key, mark{e.Time(), network, e.Seq})
	if !ok {
		return hit{}, false
	}
	h := hit{subject: "credential:" + credential, evidence: marks, detail: details(e)}
	h.detail["networks"] = d.values(key)
	d.seen.forget(key)
	return h, true
}

// turns is back for longer than redeploy: it remembers where the value is another one, and begins anew when it was the same for
// atOnce.
func (d *Detector) turns(key string, k mark) ([]uint64, bool) {
	if old := d.seen.marks[key]; len(old) > 0 {
		last := old[len(old)-1]
		if last.value == k.value || k.at.Sub(last.at) < glance {
			return nil, false
		}
		if k.at.Sub(last.at) > atOnce {
			d.seen.forget(key)
		}
	}
	marks := d.seen.add(key, time.Hour, k)
	return seqs(marks), returns(marks) >= 2 && k.at.Sub(marks[0].at) >= redeploy
}

// credential remembers what the tokens of a family were issued for.
func (m *memory) credential(family, name string) {
	if family == "" || name == "" {
		return
	}
	if m.credentials == nil || len(m.credentials) >= maxSubjects {
		m.credentials = map[string]string{}
	}
	m.credentials[family] = name
}
