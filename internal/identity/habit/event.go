package habit

import (
	"context"
	"encoding/json"
	"strconv"

	"sallyport"
	"sallyport/internal/identity/risk"
)

// The names under which an assessment stands in the detail of an event.
const (
	keyScore, keyReasons         = "risk", "because"
	keyPrefix, keyASN, keyCC     = "prefix", "asn", "country"
	keyDigest, keyBrowser, keyOS = "ua", "browser", "os"
	keyKind, keyDevice           = "kind", "device"
)

// Detail is what a sign-in's event says of its assessment, and all that is kept of it.
func (f Found) Detail(device string) map[string]string {
	l := f.Login
	d := map[string]string{keyScore: strconv.Itoa(f.Score), keyPrefix: l.Prefix, keyASN: l.ASN, keyCC: l.Country,
		keyDigest: l.Agent, keyBrowser: l.Browser, keyOS: l.OS, keyKind: l.Kind, keyDevice: device}
	if b, err := json.Marshal(f.Reasons); err == nil && len(f.Reasons) > 0 {
		d[keyReasons] = string(b)
	}
	for k, v := range d {
		if v == "" {
			delete(d, k)
		}
	}
	return d
}

// event is the record of an assessment that asks for something.
func (f Found) event(who sallyport.PrincipalID) sallyport.Event {
	d := f.Detail("")
	d["what"], d["threshold"] = "assessed", strconv.Itoa(f.Threshold)
	if f.Needs > sallyport.NoAssurance {
		d["needs"] = f.Needs.String()
	}
	if f.Hold {
		d["what"] = "held"
	}
	return sallyport.Event{Type: sallyport.EventRiskChanged, Who: who, Reasons: Names(f.Reasons), Detail: d}
}

// Types are the events that Handle reads.
func Types() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventSignedIn, sallyport.EventSignInFailed, sallyport.EventSteppedUp}
}

// Handle keeps the sign-ins among events of the trail, and that it was read up to next. Sessions that were just proved are
// rated anew: the proof may settle what is held against the person.
func (s *Service) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	var rows []Row
	for _, e := range events {
		if r, ok := rowOf(e); ok {
			rows = append(rows, r)
		}
	}
	if err := s.Store.Put(ctx, rows, next); err != nil {
		return err
	}
	for _, e := range events {
		if e.Type == sallyport.EventSignInFailed || e.Asked == nil || e.Asked.Session == "" || s.Clock().Sub(e.Time()) > fadeEvery {
			continue
		}
		if err := s.Rerate(ctx, "session:"+e.Asked.Session); err != nil { // Fade does it within a minute
			s.Logger.WarnContext(ctx, "a session that was proved could not be rated anew yet", "session", e.Asked.Session, "err", err)
		}
	}
	return nil
}

// rowOf reads a row out of an event; false of one that is no sign-in, such as a step-up. Events of before there were
// assessments count with what they have.
func rowOf(e sallyport.Logged) (Row, bool) {
	if e.Type == sallyport.EventSteppedUp || e.Who == "" || e.Type == sallyport.EventSignedIn && (e.Detail["ceremony"] == "step-up" || e.Asked == nil || e.Asked.Session == "") {
		return Row{}, false
	}
	r := Row{Seq: e.Seq, Who: e.Who, At: e.Time(), Device: clip(e.Detail[keyDevice])}
	if e.Type == sallyport.EventSignInFailed {
		wrong := len(e.Reasons) > 0 && e.Reasons[0] != "" // of what kind is the throttle's business
		return r, wrong
	}
	r.Session = clip(e.Asked.Session)
	d := func(key string) string { return clip(e.Detail[key]) }
	r.Login = risk.Login{Prefix: d(keyPrefix), ASN: d(keyASN), Country: d(keyCC), Agent: d(keyDigest), Browser: d(keyBrowser), OS: d(keyOS), Kind: d(keyKind)}
	if r.Login.Prefix == "" {
		r.Login.Prefix = clip(e.Asked.IP)
	}
	r.Score, _ = strconv.Atoi(e.Detail[keyScore]) // none: 0
	r.Score = min(max(r.Score, 0), risk.MostPoints)
	if err := json.Unmarshal([]byte(e.Detail[keyReasons]), &r.Reasons); err != nil {
		r.Reasons = nil
	}
	return r, true
}

func clip(s string) string { return s[:min(len(s), maxText)] }
