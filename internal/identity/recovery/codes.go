package recovery

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"io"
	"strings"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

const (
	// Codes is how many codes a person gets at once.
	Codes    = 10
	codeBits = 80 // SP 800-63B-4 section 3.1.2 asks for 64 where guesses are not bounded; ours are, too
	codeLen  = codeBits / 5
)

// The reasons of errors of kind Unknown, for the record.
const (
	ReasonWrongCode = "recovery.wrong"
)

// NewCodes makes ten codes and forgets those from before. They are shown once and kept as hashes.
func (s *Service) NewCodes(ctx context.Context, id sallyport.PrincipalID) ([]secret.Text, error) {
	var codes []secret.Text
	var hashes [][sha256.Size]byte
	for range Codes {
		bits := make([]byte, codeBits/8)
		if _, err := io.ReadFull(s.Random, bits); err != nil {
			return nil, sallyport.Wrap("make recovery codes", sallyport.Unavailable, "no randomness", err)
		}
		text := encoding().EncodeToString(bits)
		codes = append(codes, secret.NewText(text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:]))
		hashes = append(hashes, hashCode(id, text))
	}
	if err := s.Store.ReplaceCodes(ctx, id, hashes, s.now()); err != nil {
		return nil, err
	}
	return codes, nil
}

// ForgetCodes ends all codes of a person.
func (s *Service) ForgetCodes(ctx context.Context, id sallyport.PrincipalID) error {
	return s.Store.ReplaceCodes(ctx, id, nil, s.now())
}

// CodesLeft tells how many codes a person has not used.
func (s *Service) CodesLeft(ctx context.Context, id sallyport.PrincipalID) (int, error) {
	return s.Store.CodesLeft(ctx, id)
}

// UseCode checks a code and uses it up. note is called before, when the code is right, with how many will be left: its error
// stops the use. A wrong one, a used one and a person without any are one error of kind Unknown;
// too many guesses are Busy. How it was typed (case, dashes, spaces) does not matter.
func (s *Service) UseCode(ctx context.Context, id sallyport.PrincipalID, typed secret.Text, note func(left int) error) error {
	key := "recovery:" + string(id)
	if err := s.Throttle(ctx, key); err != nil {
		return err
	}
	wrong := sallyport.E("check recovery code", sallyport.Unknown, "the code is wrong or was used before", "each code works once; try another of your list").Because(ReasonWrongCode)
	text, ok := canonical(typed)
	if !ok {
		return wrong
	}
	hash := hashCode(id, text)
	left, there, err := s.Store.FindCode(ctx, id, hash)
	if err != nil {
		return err
	}
	if !there {
		return wrong
	}
	if err := note(left - 1); err != nil {
		return err
	}
	if there, err = s.Store.UseCode(ctx, id, hash); err != nil {
		return err
	}
	if !there {
		return wrong // somebody used it meanwhile
	}
	return s.Right(ctx, key)
}

// canonical is a code as it was made; false for what none can be.
func canonical(typed secret.Text) (string, bool) {
	if typed.Len() > 4*codeLen {
		return "", false
	}
	text := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(strings.TrimSpace(typed.Reveal())))
	raw, err := encoding().DecodeString(text)
	return text, err == nil && len(raw) == codeBits/8
}

// hashCode is how a code is kept. It is random enough that a fast hash will do, and bound to its person.
func hashCode(id sallyport.PrincipalID, text string) [sha256.Size]byte {
	return sha256.Sum256([]byte("recovery code\x00" + string(id) + "\x00" + text))
}

func encoding() *base32.Encoding { return base32.StdEncoding.WithPadding(base32.NoPadding) }
