package server_test

import (
	"encoding/json"
	"testing"

	"sallyport/internal/audit/trail"
	"sallyport/internal/enforce/authzen/wire"
)

// An enforcement point elsewhere asks over the wire, with a token of the real token endpoint: it is answered on the same
// facts as every door, its question is in the log, and the decision is made again from there.
func TestAnEnforcementPointElsewhere(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	token := r.machine("mesh", "enforcement-point", "/access", "decision.ask model.list")()
	var last map[string]any
	ask := func(token, path, body string, want int) map[string]any {
		t.Helper()
		r.Nobody().Send(request{method: "POST", path: path, body: body, bearer: token, header: map[string]string{"Content-Type": "application/json", "X-Request-ID": "q-1"}})
		r.WantStatus(want)
		last = nil
		_ = json.Unmarshal(r.last.body, &last) // an error is a text
		return last
	}
	infer := func(who, acr, model string) string {
		return `{"subject":{"type":"user","id":"` + who + `","properties":{"acr":"` + acr + `"}},"action":{"name":"model.infer"},"resource":{"type":"model","id":"` + model + `"}}`
	}
	ask("", wire.EvaluationPath, infer("ana", "aal1", base), 401)
	if d := ask(token, wire.EvaluationPath, infer("eva", "aal2", base), 200); d["decision"] != true || r.last.header.Get("X-Request-ID") != "q-1" {
		t.Errorf("eva and %s: %v", base, d)
	}
	r.replayed(last["context"].(map[string]any)["id"].(string))
	d := ask(token, wire.EvaluationPath, infer("nora", "aal2", base), 200)
	if d["decision"] != false {
		t.Errorf("nora and %s: %v", base, d)
	}
	r.replayed(d["context"].(map[string]any)["id"].(string))
	list := ask(token, wire.EvaluationsPath, `{"evaluations":[`+infer("eva", "aal2", base)+`,`+infer("eva", "aal2", "acme/none")+`]}`, 200)["evaluations"].([]any)
	if len(list) != 2 || list[0].(map[string]any)["decision"] != true || list[1].(map[string]any)["decision"] != false {
		t.Errorf("%v", list)
	}
	found := ask(token, wire.ResourcesPath, `{"subject":{"type":"user","id":"eva","properties":{"acr":"aal2"}},"action":{"name":"model.infer"},"resource":{"type":"model"}}`, 200)["results"].([]any)
	if len(found) == 0 {
		t.Error("eva finds no model to call")
	}
	// Everybody else's account is no enforcement point, whatever its token is for.
	other := r.machine("gate", "enforcement-point", "/access", "decision.ask")()
	ask(other, wire.EvaluationPath, infer("eva", "aal2", base), 403)
	r.Nobody().Send(request{path: wire.MetadataPath})
	r.WantStatus(200)
	var m wire.Metadata
	if err := json.Unmarshal(r.last.body, &m); err != nil || m.PDP != r.server.External() {
		t.Errorf("%v: %s", err, r.last.body)
	}
}
