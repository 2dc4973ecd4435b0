package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/habit"
	"sallyport/internal/identity/token"
	"sallyport/internal/web/api"
)

// What can be reported.
const (
	lostDevice = "lost-device"
	wasntMe    = "wasnt-me"
	phish      = "phish"
)

// What a report holds against the reporter's own sessions: policy asks for a fresh, strong proof until it has faded.
const (
	reportPoints = 60
	reportFade   = 12 * time.Hour
	maxAbout     = 300 // bytes
)

// report acts on what a person tells of their own account, before anybody reads it. It takes a session and no more: who
// has lost something must not be asked for it.
func (a *API) report(c *Call) (any, error) {
	const op = "report"
	var in api.Report
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	in.About = sallyport.OneLine(in.About)
	p := c.Permit.Who()
	if p.ID.Kind() != sallyport.User || len(p.Actors) > 0 {
		return nil, sallyport.E(op, sallyport.Invalid, "only a person reports, and nobody for them", "sign in as yourself")
	}
	if out, was, err := a.reportDrill(c, in); was || err != nil {
		return out, err
	}
	var ids []string
	var gone device.Device
	var err error
	on := string(p.ID)
	switch in.What {
	case lostDevice:
		if gone, ids, err = a.lost(c, in.ID); err == nil {
			on = "device:" + gone.ID
		}
	case wasntMe:
		ids, err = a.notMine(c, in.ID)
	case phish:
	default:
		err = sallyport.E(op, sallyport.Invalid, "this cannot be reported", "report lost-device, wasnt-me or phish")
	}
	if err != nil {
		return nil, err
	}
	began := time.Now()
	detail := map[string]string{"what": in.What, "about": in.About[:min(len(in.About), maxAbout)]}
	if len(ids) > 0 {
		detail["ends"] = strings.Join(ids, " ")
	}
	if err := a.noteOrder(c, sallyport.EventReported, on, detail); err != nil {
		return nil, err
	}
	out := api.Reported{What: in.What, Did: []string{"recorded, and told to those who run the system"}}
	if err := a.actOn(c, &out, gone, ids); err != nil {
		return nil, err
	}
	if err := a.inForce(c); err != nil {
		return out, err
	}
	out.InForce = time.Since(began).Round(time.Microsecond).String()
	out.Cut = a.cut(c)
	return out, nil
}

// actOn ends what a report names, and holds the rest against the reporter's sessions.
func (a *API) actOn(c *Call, out *api.Reported, gone device.Device, ids []string) error {
	w, p, why := a.Rooms.Watch, c.Permit.Who(), "reported: "+out.What
	if gone.ID != "" {
		if err := w.LoseDevice(c.Context(), gone.ID, p.ID, why); err != nil {
			return err
		}
		out.Did = append(out.Did, fmt.Sprintf("device %s (%s) is removed, its certificate revoked", gone.ID, gone.Name))
	}
	for _, id := range ids {
		if err := w.EndOne(c.Context(), id, why, p.ID); err != nil {
			return err
		}
		out.Did = append(out.Did, "ended "+id)
	}
	if out.What == lostDevice {
		return nil
	}
	r, err := w.Habits.Raise(c.Context(), string(p.ID), habit.Measure{Points: reportPoints, Fade: reportFade}, why)
	if err == nil {
		out.Did = append(out.Did, fmt.Sprintf("your sessions must be proved anew for what is sensitive, until %s", r.Until.Format(time.RFC3339)))
	}
	return err
}

// lost finds a device of the caller, the only one where none is named, and what may have begun on it.
func (a *API) lost(c *Call, id string) (device.Device, []string, error) {
	const op = "report lost-device"
	devices, err := a.Rooms.Watch.Devices(c.Context(), c.Permit.Who().ID)
	if err != nil {
		return device.Device{}, nil, err
	}
	all := slices.DeleteFunc(slices.Clone(devices), func(d device.Device) bool { return !d.Live() || id != "" && d.ID != id })
	switch {
	case len(all) == 0:
		return device.Device{}, nil, sallyport.E(op, sallyport.NotFound, "you have no such device", "list yours with 'sallyport device ls'")
	case len(all) > 1:
		return device.Device{}, nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("you have %d devices", len(all)), "say which: sallyport report lost-device "+all[0].ID)
	}
	ids, err := a.perhapsOn(c, all[0], devices)
	return all[0], ids, err
}

// perhapsOn finds the sessions and logins of the caller that may be on a device: all of them, but the one that reports and
// those that are known to be on another device. A browser shows no certificate, so that most are known to be nowhere.
func (a *API) perhapsOn(c *Call, gone device.Device, devices []device.Device) ([]string, error) {
	p := c.Permit.Who()
	elsewhere := map[string]bool{"session:" + p.Session: true, "family:" + p.Family: true}
	for _, d := range devices {
		if d.Live() && d.ID != gone.ID {
			elsewhere["device:"+d.ID], elsewhere["key:jkt:"+d.Keys.JKT] = true, true
		}
	}
	sessions, err := a.Rooms.Sessions.List(c.Context(), p.ID)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, s := range sessions {
		if s.Device == gone.ID || !elsewhere["session:"+s.ID] && !elsewhere["device:"+s.Device] {
			ids = append(ids, s.ID)
		}
	}
	families, err := a.Rooms.Tokens.Families.Families(c.Context(), token.Selector{Principal: p.ID})
	for _, f := range families {
		if f.Live(a.Guard.Clock()) && (f.Key == "jkt:"+gone.Keys.JKT || !elsewhere["family:"+f.ID] && !elsewhere["key:"+f.Key]) {
			ids = append(ids, f.ID)
		}
	}
	return ids, err
}

// notMine finds what a report of somebody else's doing ends: the session or login that it names, that of a decision, or
// all of the caller's but the one that reports.
func (a *API) notMine(c *Call, id string) ([]string, error) {
	const op = "report wasnt-me"
	p := c.Permit.Who()
	if strings.HasPrefix(id, "D-") {
		return a.behind(c, id)
	}
	mine, err := a.sessions(c)
	if err != nil {
		return nil, err
	}
	list, ok := mine.([]api.Session)
	if !ok {
		return nil, fmt.Errorf("%s: sessions are %T", op, mine)
	}
	var ids []string
	for _, s := range list {
		if id == s.ID || id == "" && s.ID != p.Session && s.ID != p.Family {
			ids = append(ids, s.ID)
		}
	}
	if id != "" && len(ids) == 0 {
		return nil, sallyport.E(op, sallyport.NotFound, "you have no such session or login", "list yours with 'sallyport sessions'")
	}
	return ids, nil
}

// behind finds the session and the login behind one of the caller's own decisions.
func (a *API) behind(c *Call, id string) ([]string, error) {
	none := sallyport.E("report wasnt-me", sallyport.NotFound, "there is no such decision about you", "'sallyport notices' and 'sallyport why' name decisions")
	rows, err := a.Rooms.History.Find(c.Context(), history.Query{Decision: id, Types: []sallyport.EventType{sallyport.EventDecided}, Most: 1})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 || rows[0].Who != c.Permit.Who().ID {
		return nil, none
	}
	entries, err := a.Rooms.Log.Read(c.Context(), rows[0].Seq, 1)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, none
	}
	e, err := sallyport.DecodeLogged(entries[0].Leaf)
	if err != nil || e.Asked == nil {
		return nil, none
	}
	var ids []string
	for _, one := range []string{e.Asked.Family, e.Asked.Session} {
		if one != "" {
			ids = append(ids, one)
		}
	}
	if e.Asked.Family != "" {
		families, err := a.Rooms.Tokens.Families.Families(c.Context(), token.Selector{Family: e.Asked.Family})
		if err != nil || len(families) == 0 || families[0].Principal != c.Permit.Who().ID {
			return nil, none
		}
	}
	return ids, nil
}
