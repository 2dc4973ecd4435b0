package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// mostApprovers is how many people are told of one request.
const mostApprovers = 50

// kept is how long what is asked may take from the log, where it is written down first, to the store. What is not there
// then never was.
const kept = 10 * time.Second

// approval tells those who may answer of a request, and those who asked of the answer and of the end of what they got.
func (s *Service) approval(ctx context.Context, e *sallyport.Logged) ([]Notice, error) {
	id, x := e.Detail["request"], e.Detail
	switch e.Type {
	case sallyport.EventGrantRequested, sallyport.EventPolicyProposed:
		if s.About.Approvers == nil || id == "" {
			return nil, nil
		}
		people, err := s.About.Approvers(ctx, id)
		if sallyport.KindOf(err) == sallyport.NotFound && s.now().Sub(time.UnixMicro(e.At)) > kept {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		named := s.charged(e.On, "approver")
		slices.SortStableFunc(people, func(a, b sallyport.PrincipalID) int { // the approvers that the asset names come first
			return cmp.Compare(rank(named, a), rank(named, b))
		})
		var all []Notice
		for _, who := range people[:min(len(people), mostApprovers)] {
			text := "Somebody asks for your approval: " + either(x["asks"], "new policies, "+x["why"]) + "."
			if slices.Contains(named, who) {
				text += " You are named as the one who approves access to " + e.On + "."
			}
			all = append(all, s.linked(s.one(e, who, "request.new", text, id), id)...)
		}
		return all, nil
	case sallyport.EventGrantVoted, sallyport.EventPolicyVoted:
		asker := askerOf(e)
		if asker.Kind() != sallyport.User || x["state"] != "approved" && x["state"] != "denied" {
			return nil, nil
		}
		text := fmt.Sprintf("%s said no to %s: %s.", person(e.Who), id, either(x["reason"], "without a reason"))
		if x["state"] == "approved" {
			text = fmt.Sprintf("%s is approved, by %s", id, person(e.Who))
			if x["until"] != "" {
				text += ", until " + x["until"] + ". Run 'sallyport retry' to take up what was refused"
			}
			text += "."
		}
		// What was written down and could not be kept may be answered otherwise: each answer is told.
		return s.linked(s.one(e, asker, "request.answered", text, id+" "+x["state"]), id), nil
	case sallyport.EventGrantEnded:
		if who := sallyport.PrincipalID(x["who"]); who.Kind() == sallyport.User {
			return s.one(e, who, "grant.ended", fmt.Sprintf("Your grant %s on %s has ended: %s.", x["grant"], e.On, x["why"]), x["grant"]), nil
		}
	case sallyport.EventApprover:
		return s.everybody(ctx, e, "approver", fmt.Sprintf("Whose keys sign approvals has changed: %s %s of %s.", x["act"], x["key"], person(sallyport.PrincipalID(e.On))))
	}
	return nil, nil
}

// linked leads notices to the page of a request.
func (s *Service) linked(all []Notice, request string) []Notice {
	for i := range all {
		all[i].Link = s.External + "/approvals/" + request
	}
	return all
}

// askerOf is who asked what a vote answers.
func askerOf(e *sallyport.Logged) sallyport.PrincipalID {
	var q struct {
		Person sallyport.PrincipalID `json:"person"`
	}
	if json.Unmarshal([]byte(e.Detail["question"]), &q) != nil {
		return ""
	}
	return q.Person
}

func rank(named []sallyport.PrincipalID, who sallyport.PrincipalID) int {
	if slices.Contains(named, who) {
		return 0
	}
	return 1
}

// mostNamed is how many assets a notice names.
const mostNamed = 3

// found tells those who watch an asset, and those who answer when something happens to it, of a finding about it. A finding
// may be about several.
func (s *Service) found(e *sallyport.Logged) []Notice {
	theirs := map[sallyport.PrincipalID][]string{}
	for _, on := range strings.Fields(e.Detail["on"]) {
		for _, who := range slices.Concat(s.charged(on, "monitor"), s.charged(on, "responder")) {
			if who.Kind() == sallyport.User && who != e.Who && !slices.Contains(theirs[who], on) {
				theirs[who] = append(theirs[who], on)
			}
		}
	}
	var all []Notice
	for _, who := range slices.Sorted(maps.Keys(theirs)) {
		names := theirs[who]
		about := strings.Join(names[:min(len(names), mostNamed)], ", ")
		if more := len(names) - mostNamed; more > 0 {
			about += fmt.Sprintf(" and %d more", more)
		}
		all = append(all, s.one(e, who, "finding", fmt.Sprintf("%s: %s It concerns %s, for which you answer: run 'sallyport findings show %s'.", e.Detail["rule"], e.Detail["text"], about, e.Detail["finding"]), e.Detail["finding"])...)
	}
	return all
}

func (s *Service) charged(on, duty string) []sallyport.PrincipalID {
	if s.About.Charged == nil {
		return nil
	}
	return s.About.Charged(on, duty)
}
