package change

import (
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"sallyport"
)

// partSize is how much of a set one event carries: an event has at most 65,535
// bytes, and JSON may double what it quotes.
const partSize = 24 << 10

// write puts the set into the trail, in parts, so that a replay needs nothing but
// the trail.
func (s *Service) write(ctx context.Context, set Set) error {
	text, err := json.Marshal(set.Source)
	if err != nil {
		return sallyport.Wrap("activate policy", sallyport.Other, "encode", err)
	}
	pieces := cut(string(text), partSize)
	for i, piece := range pieces {
		_, err := s.Note(ctx, sallyport.Event{Type: sallyport.EventPolicy, Who: set.By, On: set.Version, Detail: map[string]string{
			"part": fmt.Sprint(i), "of": fmt.Sprint(len(pieces)), "why": set.Why, "text": piece}})
		if err != nil {
			return err
		}
	}
	return nil
}

// cut cuts text into pieces of at most size bytes, never inside a character: half
// of one does not survive JSON.
func cut(text string, size int) []string {
	var pieces []string
	for len(text) > size {
		end := size
		for !utf8.RuneStart(text[end]) {
			end--
		}
		pieces, text = append(pieces, text[:end]), text[end:]
	}
	return append(pieces, text)
}
