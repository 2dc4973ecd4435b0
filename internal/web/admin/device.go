package admin

import (
	"strconv"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/device/tpm"
	"sallyport/internal/web/api"
	show "sallyport/internal/web/device"
)

// deviceRoutes are about enrolled devices. A person's own need no more than knowing who they are; enrolling one issues a
// credential, and is token.issue, which policy holds to a signed-in session; others' are administration.
func deviceRoutes() []Route {
	return []Route{
		{"POST", "/devices/begin", sallyport.TokenIssue, system, (*API).beginDevice},
		{"POST", "/devices/finish", sallyport.TokenIssue, system, (*API).finishDevice},
		{"GET", "/devices", sallyport.ServerRead, system, (*API).devices},
		{"GET", "/devices/all", sallyport.IdentityRead, system, (*API).allDevices},
		{"GET", "/devices/{id}", sallyport.ServerRead, system, (*API).device},
		{"POST", "/devices/{id}/remove", sallyport.ServerRead, system, (*API).removeDevice},
		{"POST", "/devices/{id}/revoke", sallyport.IdentityAdminister, system, (*API).revokeDevice},
		{"POST", "/devices/{id}/class", sallyport.IdentityAdminister, system, (*API).classifyDevice},
		{"POST", "/devices/{id}/compliance", sallyport.IdentityAdminister, system, (*API).complyDevice},
		{"GET", "/keys/ca", sallyport.SystemConfigure, system, (*API).authorityKeys},
		{"POST", "/keys/ca/rotate", sallyport.SystemConfigure, system, (*API).rotateAuthority},
	}
}

func (a *API) beginDevice(c *Call) (any, error) {
	var in api.DeviceStart
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	start := device.Start{Owner: c.Permit.Who().ID, Name: in.Name, Device: in.Device}
	if in.TPM != nil {
		start.TPM = &tpm.Evidence{EK: in.TPM.EK, EKChain: in.TPM.EKChain, AK: tpm.Made(in.TPM.AK)}
	}
	x, err := a.Rooms.Devices.Begin(c.Context(), start)
	return api.DeviceChallenge{ID: x.ID, Nonce: x.Nonce, Credential: x.Credential, Encrypted: x.Encrypted, Expires: x.Expires}, err
}

func (a *API) finishDevice(c *Call) (any, error) {
	var in api.DeviceProof
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	p := device.Proof{Owner: c.Permit.Who().ID, ID: in.ID, Request: in.Request, Signed: in.Signed, Answer: in.Answer}
	if in.Key != nil {
		key := tpm.Made(*in.Key)
		p.Key = &key
	}
	if in.Report != nil {
		report := device.Report(*in.Report)
		p.Report = &report
	}
	x, err := a.Rooms.Devices.Finish(c.Context(), p)
	if err != nil {
		return nil, err
	}
	out := a.deviceOut(x.Device)
	out.Chain = x.Chain
	return out, a.inForce(c)
}

func (a *API) devices(c *Call) (any, error) {
	all, err := a.Rooms.Devices.List(c.Context(), c.Permit.Who().ID)
	if err != nil {
		return nil, err
	}
	return a.devicesOut(c, all), nil
}

func (a *API) allDevices(c *Call) (any, error) {
	all, err := a.Rooms.Devices.Dump(c.Context())
	if err != nil {
		return nil, err
	}
	return a.devicesOut(c, all), nil
}

func (a *API) device(c *Call) (any, error) {
	d, err := a.Rooms.Devices.Get(c.Context(), c.PathValue("id"), c.Permit.Who().ID)
	if err != nil {
		return nil, err
	}
	return a.devicesOut(c, []device.Device{d})[0], nil
}

// removeDevice ends one of the caller's own devices; revokeDevice anybody's.
func (a *API) removeDevice(c *Call) (any, error) { return a.endDevice(c, c.Permit.Who().ID) }

func (a *API) revokeDevice(c *Call) (any, error) { return a.endDevice(c, "") }

func (a *API) endDevice(c *Call, owner sallyport.PrincipalID) (any, error) {
	var in api.DeviceChange
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	d, err := a.Rooms.Devices.Get(c.Context(), c.PathValue("id"), owner)
	if err != nil {
		return nil, err
	}
	if d, err = a.Rooms.Devices.Remove(c.Context(), d.ID, c.Permit.Who().ID, in.Why); err != nil {
		return nil, err
	}
	_, err = a.enforce(c)
	return a.deviceOut(d), err
}

func (a *API) classifyDevice(c *Call) (any, error) {
	var in api.DeviceChange
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	d, err := a.Rooms.Devices.Classify(c.Context(), c.PathValue("id"), device.Class(in.Class), c.Permit.Who().ID)
	if err != nil {
		return nil, err
	}
	_, err = a.enforce(c)
	return a.deviceOut(d), err
}

// complyDevice is for the operator's device management.
func (a *API) complyDevice(c *Call) (any, error) {
	var in api.DeviceChange
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Compliant == nil {
		return nil, sallyport.E("comply", sallyport.Invalid, "\"compliant\" is missing", "say true or false")
	}
	d, err := a.Rooms.Devices.Comply(c.Context(), c.PathValue("id"), *in.Compliant, in.Why)
	if err != nil {
		return nil, err
	}
	_, err = a.enforce(c)
	return a.deviceOut(d), err
}

func (a *API) authorityKeys(c *Call) (any, error) {
	keys, err := a.Rooms.Devices.CA.Keys(c.Context())
	out := []api.AuthorityKey{}
	for _, k := range keys {
		out = append(out, api.AuthorityKey(k))
	}
	return out, err
}

func (a *API) rotateAuthority(c *Call) (any, error) {
	var in api.AuthorityRotation
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := a.note(c, sallyport.EventChanged, "keys:ca", map[string]string{"what": "device authority rotated", "root": strconv.FormatBool(in.Root)}); err != nil {
		return nil, err
	}
	if err := a.Rooms.Devices.CA.Rotate(c.Context(), in.Root); err != nil {
		return nil, err
	}
	return a.authorityKeys(c)
}

func (a *API) devicesOut(c *Call, all []device.Device) []api.Device {
	out := []api.Device{}
	for _, d := range all {
		x := a.deviceOut(d)
		x.Current = d.ID == c.Permit.Who().Device
		out = append(out, x)
	}
	return out
}

func (a *API) deviceOut(d device.Device) api.Device { return show.Show(d, a.Guard.Clock()) }
