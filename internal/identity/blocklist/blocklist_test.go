package blocklist_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/identity/blocklist"
)

// text is the published form of passwords, in order.
func text(passwords ...string) string {
	var lines []string
	for _, p := range passwords {
		sum := blocklist.Sum([]byte(p))
		lines = append(lines, strings.ToUpper(hex.EncodeToString(sum[:]))+":42")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\r\n") + "\r\n"
}

func build(t testing.TB, text string) *blocklist.List {
	t.Helper()
	var file bytes.Buffer
	if _, err := blocklist.Build(&file, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	l, err := blocklist.Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// SHA-1 of "password" as everybody knows it: the form of the lists is not ours to choose.
func TestSum(t *testing.T) {
	if sum := blocklist.Sum([]byte("password")); hex.EncodeToString(sum[:]) != "5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8" {
		t.Errorf("%x", sum)
	}
}

func TestHas(t *testing.T) {
	var in []string
	for i := range 1000 {
		in = append(in, fmt.Sprint("in ", i))
	}
	for _, n := range []int{1, 2, 3, 999, 1000} {
		l := build(t, text(in[:n]...))
		if l.Len() != int64(n) {
			t.Errorf("%d entries, want %d", l.Len(), n)
		}
		for i := range 1000 {
			has, err := l.Has(blocklist.Sum([]byte(in[i])))
			if err != nil || has != (i < n) {
				t.Fatalf("of %d: Has(%d) = %v, %v", n, i, has, err)
			}
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	a, b := strings.Repeat("0", 39)+"1", strings.Repeat("F", 40)
	for name, text := range map[string]string{
		"nothing": "", "only blank lines": "\n\r\n", "no hash": "password\n", "a short one": a[1:] + "\n", "a long one": a + "0\n", "no hex": "G" + a[1:],
		"out of order": b + "\n" + a, "a long line": a + ":" + strings.Repeat("1", 1000), "a space in front": " " + a,
	} {
		if n, err := blocklist.Build(new(bytes.Buffer), strings.NewReader(text)); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %d, %v; want invalid", name, n, err)
		}
	}
	if n, err := blocklist.Build(new(bytes.Buffer), strings.NewReader(a+"\n"+a+":3\n\n"+strings.ToLower(b))); n != 2 || err != nil {
		t.Errorf("doubled lines: %d, %v", n, err)
	}
	if _, err := blocklist.Build(full{}, strings.NewReader(a)); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("a full disk = %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func (full) ReadAt([]byte, int64) (int, error) { return 0, errors.New("bad sector") }

// A file that cannot be read is not a list without the password.
func TestBrokenFile(t *testing.T) {
	if _, err := blocklist.Open(full{}, 28); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("Open = %v", err)
	}
	head := &cut{strings.NewReader("SPBLK01\n")}
	l, err := blocklist.Open(head, 48)
	if err != nil {
		t.Fatal(err)
	}
	if has, err := l.Has(blocklist.Sum(nil)); has || sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("Has = %v, %v", has, err)
	}
}

type cut struct{ *strings.Reader }

func FuzzOpen(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("SPBLK01\n"))
	f.Add([]byte("SPBLK01\n01234567890123456789"))
	f.Add([]byte("SPBLK01\n0123456789012345678901234567890123456789"))
	f.Fuzz(func(t *testing.T, file []byte) {
		l, err := blocklist.Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if 8+20*l.Len() != int64(len(file)) {
			t.Errorf("%d entries in %d bytes", l.Len(), len(file))
		}
		if _, err := l.Has(blocklist.Sum(file)); err != nil {
			t.Error(err)
		}
	})
}

func FuzzBuild(f *testing.F) {
	f.Add(text("a", "b"))
	f.Add("x\n")
	f.Fuzz(func(t *testing.T, text string) {
		var file bytes.Buffer
		n, err := blocklist.Build(&file, strings.NewReader(text))
		if err != nil {
			return
		}
		l, err := blocklist.Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
		if err != nil || l.Len() != n {
			t.Fatalf("%v", err)
		}
		for line := range strings.Lines(text) {
			raw, err := hex.DecodeString(line[:min(len(line), 40)])
			if err != nil || len(raw) != 20 {
				continue
			}
			if has, err := l.Has([20]byte(raw)); !has || err != nil {
				t.Errorf("%x is not found, %v", raw, err)
			}
		}
	})
}
