package risk

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/mileusna/useragent"
)

// maxAgent bounds what is read of a User-Agent header, in bytes.
const maxAgent = 512

// ReadAgent fills the agent's part of a Login from a User-Agent header (RFC 9110, section 10.1.5). The header itself is
// not kept: its digest tells two apart.
func (l *Login) ReadAgent(header string) {
	header = header[:min(len(header), maxAgent)]
	sum := sha256.Sum256([]byte(header))
	l.Agent = hex.EncodeToString(sum[:8])
	ua := useragent.Parse(header)
	l.Browser = word(ua.Name, major(ua.Version))
	l.OS = word(ua.OS, major(ua.OSVersion))
	switch {
	case ua.Tablet:
		l.Kind = "tablet"
	case ua.Mobile:
		l.Kind = "mobile"
	case ua.Desktop:
		l.Kind = "desktop"
	default:
		l.Kind = "program"
	}
}

// word joins a name and a version, without what moves the cursor of who reads it.
func word(name, version string) string {
	clean := func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}
	s := strings.TrimSpace(strings.Map(clean, name) + " " + strings.Map(clean, version))
	return s[:min(len(s), 64)]
}

// major is a version up to its first dot: the rest changes every few weeks and says nothing about the person.
func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}

// family is a browser's name without its version.
func family(browser string) string {
	name, _, _ := strings.Cut(browser, " ")
	return name
}
