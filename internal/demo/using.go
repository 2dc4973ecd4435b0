package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
)

func (s *story) chats(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, chat(ana, guarded, false, 12))
	if err != nil {
		return seen{}, err
	}
	var said struct {
		Choices []struct{ Message struct{ Content string } }
		Usage   struct {
			Completion int `json:"completion_tokens"`
		}
	}
	if a.status == http.StatusOK && (json.Unmarshal(a.body, &said) != nil || len(said.Choices) != 1 || said.Choices[0].Message.Content == "") {
		return seen{}, fmt.Errorf("the answer holds no text: %.200s", a.body)
	}
	note := ""
	if len(said.Choices) == 1 {
		note = fmt.Sprintf("%d tokens, %q", said.Usage.Completion, strings.TrimSpace(said.Choices[0].Message.Content))
	}
	return s.answered(ctx, a, http.StatusOK, note)
}

func (s *story) streams(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, chat(ana, guarded, true, 24))
	if err != nil {
		return seen{}, err
	}
	if !bytes.HasSuffix(bytes.TrimSpace(a.body), []byte("data: [DONE]")) {
		return seen{}, fmt.Errorf("the stream does not end as streams do: %.200s", a.body)
	}
	return s.answered(ctx, a, http.StatusOK, fmt.Sprintf("%d events", bytes.Count(a.body, []byte("data: "))))
}

func (s *story) tokenizer(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, hub(ana, guarded, "tokenizer.json"))
	if err != nil {
		return seen{}, err
	}
	return s.answered(ctx, a, http.StatusOK, fmt.Sprintf("%d bytes", len(a.body)))
}

// weightsByHub must be refused in the form in which the Hub's clients show our sentence, with the command that helps.
func (s *story) weightsByHub(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, hub(ana, guarded, weights))
	if err != nil {
		return seen{}, err
	}
	told := a.header.Get("X-Error-Message")
	if a.header.Get("X-Error-Code") != "GatedRepo" || !strings.Contains(told, "sallyport request model.pull "+guarded) {
		return seen{}, fmt.Errorf("the client is not told what would help: %d %q", a.status, told)
	}
	s.denied = a.header.Get(decisionHeader)
	return s.answered(ctx, a, http.StatusForbidden, told)
}

func (s *story) oneByte(ctx context.Context, ana *people.Person) (seen, error) {
	c := hub(ana, guarded, weights)
	c.ranged = "bytes=0-0"
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	return s.answered(ctx, a, http.StatusForbidden, "")
}

func (s *story) weightsByVault(ctx context.Context, ana *people.Person) (seen, error) {
	_, err := ana.Client.Pull(ctx, guarded, s.path("denied"), client.PullOptions{Only: func(f client.File) bool { return f.Path == weights }})
	e, err := refusal(err)
	if err != nil {
		return seen{}, err
	}
	if !strings.Contains(e.Message, "sallyport request model.pull") {
		return seen{}, fmt.Errorf("the message does not say what would help: %s", e.Message)
	}
	return s.decided(ctx, e.Decision, "")
}

func (s *story) readsCard(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, hub(ana, closed, "README.md"))
	if err != nil {
		return seen{}, err
	}
	return s.answered(ctx, a, http.StatusOK, fmt.Sprintf("%d bytes", len(a.body)))
}

func (s *story) callsClosed(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, chat(ana, closed, false, 4))
	if err != nil {
		return seen{}, err
	}
	var said struct{ Error struct{ Message string } }
	if json.Unmarshal(a.body, &said) != nil || !strings.Contains(said.Error.Message, "sallyport request model.infer") {
		return seen{}, fmt.Errorf("the client is not told what would help: %d %.300s", a.status, a.body)
	}
	return s.answered(ctx, a, http.StatusForbidden, said.Error.Message)
}

func (s *story) lists(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, call{who: ana, door: client.OpenAI, path: "/openai/v1/models"})
	if err != nil {
		return seen{}, err
	}
	var list struct{ Data []struct{ ID string } }
	if err := json.Unmarshal(a.body, &list); err != nil {
		return seen{}, err
	}
	var names []string
	for _, m := range list.Data {
		names = append(names, m.ID)
	}
	if got, want := strings.Join(names, ", "), guarded+", "+open; got != want {
		return seen{}, fmt.Errorf("the list is %s, not %s", got, want)
	}
	return s.answered(ctx, a, http.StatusOK, strings.Join(names, ", "))
}

// hidden compares what somebody is told about a model of which they may not know, and about one that is not there.
func (s *story) hidden(ctx context.Context, nora *people.Person) (seen, error) {
	words := func(name string) (answer, string, error) {
		a, err := s.ask(ctx, call{who: nora, door: client.Hub, path: "/hf/api/models/acme/" + name})
		told := regexp.MustCompile(`D-[0-9a-z]+`).ReplaceAllString(a.header.Get("X-Error-Message")+" "+a.header.Get("X-Error-Code")+" "+string(a.body), "D")
		return a, strings.ReplaceAll(told, name, "NAME"), err
	}
	there, told, err := words("harbour")
	if err != nil {
		return seen{}, err
	}
	nowhere, same, err := words("no-such-model")
	if err != nil {
		return seen{}, err
	}
	if told != same || nowhere.status != there.status {
		return seen{}, fmt.Errorf("the answers differ: %d %q and %d %q", there.status, told, nowhere.status, same)
	}
	return s.answered(ctx, there, http.StatusNotFound, there.header.Get("X-Error-Message"))
}

// unmapped makes a call that no table of routes has.
func (s *story) unmapped(ctx context.Context, c call, status int) (seen, error) {
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	if a.status != status {
		return seen{}, fmt.Errorf("the door answers %d, not %d: %.200s", a.status, status, a.body)
	}
	id := a.header.Get(decisionHeader)
	if id == "" { // the management API names it in the body
		var e struct{ Decision string }
		if err := json.Unmarshal(a.body, &e); err != nil {
			return seen{}, err
		}
		id = e.Decision
	}
	return s.decided(ctx, id, c.path)
}

func (s *story) loadsAdapter(ctx context.Context, ana *people.Person) (seen, error) {
	return s.unmapped(ctx, call{who: ana, door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/load_lora_adapter", body: `{"lora_name":"x","lora_path":"/x"}`}, http.StatusForbidden)
}

func (s *story) invocations(ctx context.Context, ana *people.Person) (seen, error) {
	c := chat(ana, guarded, false, 4)
	c.path = "/openai/invocations"
	return s.unmapped(ctx, c, http.StatusForbidden)
}

func (s *story) xetToken(ctx context.Context, ana *people.Person) (seen, error) {
	return s.unmapped(ctx, call{who: ana, door: client.Hub, path: "/hf/api/models/" + guarded + "/xet-read-token/main"}, http.StatusForbidden)
}

func (s *story) vaultUnmapped(ctx context.Context, ana *people.Person) (seen, error) {
	return s.unmapped(ctx, call{who: ana, door: client.Vault, path: "/vault/v1/" + guarded + "/keys"}, http.StatusForbidden)
}

func (s *story) apiUnmapped(ctx context.Context, ana *people.Person) (seen, error) {
	return s.unmapped(ctx, call{who: ana, door: client.API, path: "/api/v1/debug"}, http.StatusNotFound)
}

func (s *story) twoModels(ctx context.Context, ana *people.Person) (seen, error) {
	c := chat(ana, open, false, 4)
	c.body = strings.TrimSuffix(c.body, "}") + fmt.Sprintf(`,"model":%q}`, guarded)
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	if a.status != http.StatusBadRequest {
		return seen{}, fmt.Errorf("the door answers %d: %.200s", a.status, a.body)
	}
	return s.refused(ctx, ana.ID, "refused")
}

// refused tells the newest refusal in the log that came without a decision.
func (s *story) refused(ctx context.Context, who sallyport.PrincipalID, outcome string) (seen, error) {
	alba, err := s.who("alba")
	if err != nil {
		return seen{}, err
	}
	found, err := alba.Client.Search(ctx, client.Search{Who: string(who), Types: []string{string(sallyport.EventRefused)}, Most: 1})
	if err != nil {
		return seen{}, err
	}
	if len(found) == 0 || found[0].Seq <= s.told {
		return seen{}, fmt.Errorf("the log has no refusal of %q", who)
	}
	s.told = found[0].Seq
	return seen{action: string(found[0].Action), resource: found[0].On, outcome: outcome, reason: found[0].Reason}, nil
}

func (s *story) wrongDoor(ctx context.Context, ana *people.Person) (seen, error) {
	c := chat(ana, guarded, false, 4)
	c.door = client.Hub
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	if a.status != http.StatusUnauthorized {
		return seen{}, fmt.Errorf("the door answers %d: %.200s", a.status, a.body)
	}
	return s.refused(ctx, "", "401")
}

func (s *story) noToken(ctx context.Context, _ *people.Person) (seen, error) {
	chatting := chat(nil, guarded, false, 4)
	for _, c := range []call{
		{path: "/hf/" + guarded + "/resolve/main/" + weights}, {path: "/hf/api/models"},
		{method: http.MethodPost, path: "/openai/v1/chat/completions", body: chatting.body}, {path: "/openai/v1/models"},
		{path: "/vault/v1/" + guarded + "/versions/main"}, {path: "/api/v1/whoami"}, {path: "/log/tile/entries/000"},
	} {
		a, err := s.ask(ctx, c)
		if err != nil {
			return seen{}, err
		}
		if a.status != http.StatusUnauthorized {
			return seen{}, fmt.Errorf("%s answers %d: %.200s", c.path, a.status, a.body)
		}
	}
	got, err := s.refused(ctx, "", "401")
	got.note = "seven routes of five doors"
	return got, err
}
