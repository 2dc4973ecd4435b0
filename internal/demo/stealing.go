package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
	"sallyport/internal/web/api"
)

// maxAnswer bounds what is read of the token endpoint.
const maxAnswer = 1 << 20

// refresh shows a refresh token at the token endpoint, and returns the access token and the error code of the answer.
func (s *story) refresh(ctx context.Context, token, audience string) (access, code string, err error) {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"sallyport-cli"}, "refresh_token": {token}, "resource": {audience}}
	return s.tokens(ctx, form)
}

// steals uses ana's refresh token as it lies in her files. Nothing yet tells the thief from her.
func (s *story) steals(ctx context.Context, _ *people.Person) (seen, error) {
	ana, err := s.who("ana")
	if err != nil {
		return seen{}, err
	}
	copied, err := ana.RefreshToken()
	if err != nil {
		return seen{}, err
	}
	access, code, err := s.refresh(ctx, copied.Reveal(), ana.Client.Audience(client.OpenAI))
	if err != nil || access == "" {
		return seen{}, fmt.Errorf("no token: %s %w", code, err)
	}
	s.stolen = access
	if status, err := s.withToken(ctx, access); err != nil || status != http.StatusOK {
		return seen{}, fmt.Errorf("the thief's token gets %d: %w", status, err)
	}
	return seen{outcome: "issued", note: "it works, for now"}, nil
}

// withToken lists models with an access token and returns the status.
func (s *story) withToken(ctx context.Context, token string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.External()+"/openai/v1/models", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := s.wire.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

func (s *story) reuses(ctx context.Context, ana *people.Person) (seen, error) {
	kept, err := ana.RefreshToken()
	if err != nil {
		return seen{}, err
	}
	_, code, err := s.refresh(ctx, kept.Reveal(), ana.Client.Audience(client.API))
	return seen{outcome: "refused", reason: code}, err
}

func (s *story) thiefOut(ctx context.Context, _ *people.Person) (seen, error) {
	status, err := s.withToken(ctx, s.stolen)
	return seen{outcome: fmt.Sprint(status)}, err
}

func (s *story) incident(ctx context.Context, alba *people.Person) (seen, error) {
	return s.recorded(ctx, alba, sallyport.EventTokenReused, "user:ana")
}

// recorded tells the newest event of a type about somebody.
func (s *story) recorded(ctx context.Context, alba *people.Person, kind sallyport.EventType, who string) (seen, error) {
	var found []api.Found
	var err error
	for range 1200 { // a minute: the index follows the log, on a busy machine slowly
		if found, err = alba.Client.Search(ctx, client.Search{Types: []string{string(kind)}, Who: who, Most: 1}); err != nil {
			return seen{}, err
		}
		if len(found) > 0 {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return seen{}, err
		}
	}
	if len(found) == 0 {
		return seen{}, fmt.Errorf("the log has no %s", kind)
	}
	return seen{action: string(found[0].Action), outcome: "recorded", reason: string(found[0].Type), note: fmt.Sprintf("entry %d: %s", found[0].Seq, found[0].Reason)}, nil
}

func (s *story) anaSignsIn(ctx context.Context, ana *people.Person) (seen, error) {
	return seen{outcome: "signed-in"}, ana.Login(ctx, sallyport.NoAssurance)
}

// clearsRisk ends what the theft left behind: until then ana would be asked for a fresh passkey before what is sensitive.
func (s *story) clearsRisk(ctx context.Context, rita *people.Person) (seen, error) {
	before, err := rita.Client.Risk(ctx, "user:ana")
	if err != nil {
		return seen{}, err
	}
	if len(before.Raised) == 0 {
		return seen{}, errors.New("nothing is held against her")
	}
	for _, held := range before.Raised {
		if _, err := rita.Client.ClearRisk(ctx, held.ID); err != nil {
			return seen{}, err
		}
	}
	after, err := rita.Client.Risk(ctx, "user:ana")
	if err == nil && len(after.Raised) > 0 {
		err = errors.New("it is held against her still")
	}
	return seen{resource: "user:ana", outcome: "cleared", note: fmt.Sprintf("%d points, because of %s", before.Raised[0].Points, before.Raised[0].Why)}, err
}

// logsOut ends everything of ana's, the stream that runs included.
func (s *story) logsOut(ctx context.Context, ana *people.Person) (seen, error) {
	t, err := ana.Token(ctx, client.OpenAI)
	if err != nil {
		return seen{}, err
	}
	s.stolen = t.Reveal() // what a program of hers still holds
	running, err := s.begin(ctx, chat(ana, guarded, true, 4000), 200)
	if err != nil {
		return seen{}, err
	}
	h, err := ana.Client.LogoutEverywhere(ctx)
	if err != nil {
		return seen{}, err
	}
	if err := running.wait(ctx); err != nil {
		return seen{}, err
	}
	if len(h.Cut) == 0 {
		return seen{}, fmt.Errorf("nothing was cut, and a stream was running: %.200s", running.tail)
	}
	return s.latest(ctx, ana, sallyport.ServerRead, fmt.Sprintf("%d running calls cut", len(h.Cut)))
}

func (s *story) oldToken(ctx context.Context, _ *people.Person) (seen, error) {
	return s.thiefOut(ctx, nil)
}
