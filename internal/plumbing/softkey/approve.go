package softkey

import (
	"context"
	"encoding/json"
	"net/url"
)

// Approve says yes to a request and signs it, as the script on the request's page does. hash is of the request as it was
// read.
func (b *Browser) Approve(ctx context.Context, request, hash, reason string) error {
	path := "/approvals/" + url.PathEscape(request)
	text, err := b.post(ctx, path+"/statement", map[string]any{"yes": true, "reason": reason, "hash": hash})
	if err != nil {
		return err
	}
	var statement struct {
		Groups  []string        `json:"groups"`
		At      string          `json:"at"`
		Options json.RawMessage `json:"options"`
	}
	if err := json.Unmarshal(text, &statement); err != nil {
		return err
	}
	response, err := b.Key.Get(statement.Options, b.URL)
	if err != nil {
		return err
	}
	_, err = b.post(ctx, path+"/sign", map[string]any{"yes": true, "reason": reason, "hash": hash, "groups": statement.Groups, "at": statement.At,
		"response": json.RawMessage(response)})
	return err
}
