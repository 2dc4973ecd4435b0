package client

import (
	"context"
	"net/http"
	"net/url"

	"sallyport/internal/web/api"
)

// BeginDevice begins to enrol a device of the caller's, or to renew a certificate that has ended. Package client/device
// does the whole of it.
func (c *Client) BeginDevice(ctx context.Context, s api.DeviceStart) (api.DeviceChallenge, error) {
	return post[api.DeviceChallenge](ctx, c, request{op: "enrol device", path: "/devices/begin"}, s)
}

// FinishDevice ends what BeginDevice began; the answer has the certificate.
func (c *Client) FinishDevice(ctx context.Context, p api.DeviceProof) (api.Device, error) {
	return post[api.Device](ctx, c, request{op: "enrol device", path: "/devices/finish"}, p)
}

// RenewDevice gets another certificate for the device whose certificate the client shows.
func (c *Client) RenewDevice(ctx context.Context) (api.Device, error) {
	var out api.Device
	err := c.call(ctx, request{op: "renew certificate", method: http.MethodPost, path: "/device/v1/renew"}, struct{}{}, &out)
	return out, err
}

// ReportPosture says what state the device is in whose certificate the client shows.
func (c *Client) ReportPosture(ctx context.Context, r api.SignedPosture) (api.Device, error) {
	var out api.Device
	err := c.call(ctx, request{op: "report posture", method: http.MethodPost, path: "/device/v1/posture"}, r, &out)
	return out, err
}

// Devices lists the caller's devices, or with all everybody's live ones.
func (c *Client) Devices(ctx context.Context, all bool) ([]api.Device, error) {
	path := "/devices"
	if all {
		path = "/devices/all"
	}
	return get[[]api.Device](ctx, c, "devices", path, nil)
}

// Device returns one of the caller's devices.
func (c *Client) Device(ctx context.Context, id string) (api.Device, error) {
	return get[api.Device](ctx, c, "device", "/devices/"+url.PathEscape(id), nil)
}

// RemoveDevice ends one of the caller's devices, or with others anybody's.
func (c *Client) RemoveDevice(ctx context.Context, id, why string, others bool) (api.Device, error) {
	end := "/remove"
	if others {
		end = "/revoke"
	}
	return post[api.Device](ctx, c, request{op: "remove device", path: "/devices/" + url.PathEscape(id) + end}, api.DeviceChange{Why: why})
}

// ClassifyDevice makes somebody else's device one of a class: standard or admin.
func (c *Client) ClassifyDevice(ctx context.Context, id, class string) (api.Device, error) {
	return post[api.Device](ctx, c, request{op: "promote device", path: "/devices/" + url.PathEscape(id) + "/class"}, api.DeviceChange{Class: class})
}

// ComplyDevice records what device management says of a device.
func (c *Client) ComplyDevice(ctx context.Context, id string, compliant bool, why string) (api.Device, error) {
	return post[api.Device](ctx, c, request{op: "comply", path: "/devices/" + url.PathEscape(id) + "/compliance"}, api.DeviceChange{Compliant: &compliant, Why: why})
}

// AuthorityKeys lists the keys of the authority that signs device certificates.
func (c *Client) AuthorityKeys(ctx context.Context) ([]api.AuthorityKey, error) {
	return get[[]api.AuthorityKey](ctx, c, "keys", "/keys/ca", nil)
}

// RotateAuthority makes a new intermediate of that authority, and with root a new root.
func (c *Client) RotateAuthority(ctx context.Context, root bool) ([]api.AuthorityKey, error) {
	return post[[]api.AuthorityKey](ctx, c, request{op: "rotate", path: "/keys/ca/rotate"}, api.AuthorityRotation{Root: root})
}
