package trail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testOrigin = "sallyport.test/log/n1"

// testJournal is a journal without fsync, which these tests do not need: they make the damage themselves.
func testJournal(dir string) *journal {
	return &journal{dir: dir, origin: testOrigin, limit: 1 << 20, files: Files{Sync: func(*os.File) error { return nil }}.orReal()}
}

// testGroup encodes count records from first on, with bodies of about size bytes.
func testGroup(first uint64, count, size int) (group []byte, leaves []string) {
	group = beginGroup(nil)
	for i := range count {
		var leaf []byte
		group, leaf = appendRecord(group, testOrigin, first+uint64(i), fmt.Appendf(nil, `{"pad":"%s"}`, strings.Repeat("x", size)))
		leaves = append(leaves, string(leaf))
	}
	endGroup(group, first, count)
	return group, leaves
}

// writeGroups writes groups of these counts to a new journal and returns its one segment, its leaves and where each
// group begins.
func writeGroups(t *testing.T, size int, counts ...int) (data []byte, leaves []string, begins []int) {
	t.Helper()
	dir := t.TempDir()
	j := testJournal(dir)
	if err := j.mend(nil); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	for _, count := range counts {
		_, next := j.bounds()
		group, l := testGroup(next, count, size)
		begins = append(begins, int(j.segments[0].size))
		if err := j.append(group, next, count); err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, l...)
	}
	data, err := os.ReadFile(j.path(0))
	if err != nil {
		t.Fatal(err)
	}
	return data, leaves, begins
}

// reopen scans and mends a journal whose one segment is data, and returns what is left.
func reopen(t *testing.T, dir string, data []byte, integrated uint64) ([]string, error) {
	t.Helper()
	j := testJournal(dir)
	if err := os.WriteFile(j.path(0), data, 0o600); err != nil {
		t.Fatal(err)
	}
	torn, err := j.scan(integrated)
	if err != nil {
		return nil, err
	}
	if err := j.mend(torn); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	first, next := j.bounds()
	if first != 0 {
		t.Fatalf("journal begins at %d", first)
	}
	var got []string
	for uint64(len(got)) < next {
		leaves, err := j.read(uint64(len(got)), 3)
		if err != nil || len(leaves) == 0 {
			t.Fatalf("read %d of %d: %v", len(got), next, err)
		}
		for _, leaf := range leaves {
			got = append(got, string(leaf))
		}
	}
	// What follows must find its place.
	group, leaves := testGroup(next, 1, 5)
	if err := j.append(group, next, 1); err != nil {
		t.Fatal(err)
	}
	if again, err := j.read(next, 1); err != nil || len(again) != 1 || string(again[0]) != leaves[0] {
		t.Fatalf("record after a repair: %q, %v", again, err)
	}
	return got, nil
}

// JT4: the last group cut at every byte, or with any of its pages zero, is gone as a whole and nothing else is.
func TestJT4TornLastGroupIsDroppedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	check := func(what string, torn []byte, want []string) {
		t.Helper()
		got, err := reopen(t, dir, torn, 3)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s: %d records, %v; want %d", what, len(got), err, len(want))
		}
	}
	data, leaves, begins := writeGroups(t, 20, 1, 2, 4)
	check("whole", data, leaves)
	for cut := begins[2]; cut < len(data); cut++ {
		check(fmt.Sprintf("cut at %d", cut), data[:cut], leaves[:3])
	}

	data, leaves, begins = writeGroups(t, 900, 1, 2, 12) // over several pages
	last, keep := begins[2], leaves[:3]
	pages := (len(data)+4095)/4096 - last/4096
	if pages < 3 {
		t.Fatalf("the group has only %d pages", pages)
	}
	for set := 1; set < 1<<pages; set++ {
		torn := slices.Clone(data)
		for p := range pages {
			if set&(1<<p) != 0 {
				from := max(last, (last/4096+p)*4096)
				clear(torn[from:min(len(torn), (last/4096+p+1)*4096)])
			}
		}
		check(fmt.Sprintf("pages %b zero", set), torn, keep)
	}
	// The same tear below the size of the tree is damage: those records were durable.
	if _, err := reopen(t, dir, data[:len(data)-1], 4); !errors.Is(err, ErrDamaged) {
		t.Errorf("a tear below the integrated size: %v", err)
	}
}

// A crash while a new segment begins leaves an incomplete header and loses nothing.
func TestTornSegmentHeaderIsDropped(t *testing.T) {
	data, leaves, _ := writeGroups(t, 20, 2, 3)
	head := segmentHeaderSize(testOrigin)
	for cut := range head {
		dir := t.TempDir()
		j := testJournal(dir)
		if err := os.WriteFile(j.path(5), appendSegmentHeader(nil, testOrigin, 5)[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := reopen(t, dir, data, 0)
		if err != nil || !slices.Equal(got, leaves) {
			t.Fatalf("header cut at %d: %d records, %v", cut, len(got), err)
		}
	}
}

// JT5: zeros behind the last group are no records, however many.
func TestJT5ZerosAreNoRecords(t *testing.T) {
	data, leaves, _ := writeGroups(t, 20, 2, 3)
	for _, n := range []int{1, 7, 8, 23, 24, 25, 4096, 1 << 20} {
		got, err := reopen(t, t.TempDir(), append(slices.Clone(data), make([]byte, n)...), 5)
		if err != nil || !slices.Equal(got, leaves) {
			t.Errorf("%d zeros: %d records, %v", n, len(got), err)
		}
	}
	if recordChecksum(0, make([]byte, 4), nil) == 0 {
		t.Error("eight zero bytes have a valid checksum")
	}
}

// JT6: one flipped bit anywhere before the last group is damage; file and offset are named and nothing is changed.
func TestJT6FlippedBitIsDamage(t *testing.T) {
	data, _, begins := writeGroups(t, 20, 2, 3, 1)
	dir := t.TempDir()
	for i := range begins[2] {
		bad := slices.Clone(data)
		bad[i] ^= 1 << (i % 8)
		_, err := reopen(t, dir, bad, 0)
		at := 0
		for _, b := range begins {
			if b <= i {
				at = b
			}
		}
		name := testJournal(dir).path(0)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("%s at byte %d", name, at)) {
			t.Fatalf("bit flipped at byte %d: %v", i, err)
		}
		if after, err := os.ReadFile(name); err != nil || !bytes.Equal(after, bad) {
			t.Fatalf("bit flipped at byte %d: the file was changed, %v", i, err)
		}
	}
}

// A segment that is missing, cut, foreign or no segment at all stops the start.
func TestSegmentsMustFollowOneAnother(t *testing.T) {
	build := func(t *testing.T) (string, *journal) {
		dir := t.TempDir()
		j := testJournal(dir)
		j.limit = 1
		if err := j.mend(nil); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(4) {
			group, _ := testGroup(i*2, 2, 10)
			if err := j.append(group, i*2, 2); err != nil {
				t.Fatal(err)
			}
		}
		return dir, j
	}
	for what, change := range map[string]func(j *journal) error{
		"missing":         func(j *journal) error { return os.Remove(j.path(2)) },
		"cut":             func(j *journal) error { return os.Truncate(j.path(2), 80) },
		"displaced":       func(j *journal) error { return os.Rename(j.path(4), j.path(2)) },
		"foreign":         func(j *journal) error { j.origin = "sallyport.test/log/n2"; return nil },
		"no number":       func(j *journal) error { return os.WriteFile(filepath.Join(j.dir, "x.journal"), nil, 0o600) },
		"spelled oddly":   func(j *journal) error { return os.WriteFile(filepath.Join(j.dir, "8.journal"), nil, 0o600) },
		"a directory":     func(j *journal) error { return os.Mkdir(j.path(8), 0o700) },
		"longer than any": func(j *journal) error { return os.Truncate(j.path(6), maxSegmentBytes+1<<30) },
	} {
		dir, built := build(t)
		j := testJournal(dir)
		if err := change(j); err != nil {
			t.Fatal(err)
		}
		if _, err := j.scan(0); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		built.close()
	}
}

// A bad byte that appears while the trail runs is an error of the read, never a wrong record.
func TestReadChecksWhatItReads(t *testing.T) {
	dir := t.TempDir()
	j := testJournal(dir)
	if err := j.mend(nil); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	group, leaves := testGroup(0, 5, 100)
	if err := j.append(group, 0, 5); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(j.path(0))
	if err != nil {
		t.Fatal(err)
	}
	for i := segmentHeaderSize(testOrigin); i < len(data); i++ {
		bad := slices.Clone(data)
		bad[i] ^= 0x10
		if err := os.WriteFile(j.path(0), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := j.read(3, 1); err == nil && string(got[0]) != leaves[3] {
			t.Fatalf("byte %d flipped: read %q", i, got)
		} else if err == nil {
			t.Fatalf("byte %d flipped: unnoticed", i)
		}
	}
}

// FuzzParseGroup: no bytes make the parser fail otherwise than by an error, and what it accepts encodes to itself.
func FuzzParseGroup(f *testing.F) {
	group, _ := testGroup(7, 3, 10)
	f.Add(group, uint64(7))
	f.Add(group[:40], uint64(7))
	f.Add(make([]byte, 100), uint64(0))
	huge := slices.Clone(group)
	binary.BigEndian.PutUint32(huge[4:], 1<<31)
	f.Add(huge, uint64(7))
	f.Fuzz(func(t *testing.T, data []byte, first uint64) {
		laterGroup(data, first)
		leaves, size, err := parseGroup(data, first)
		if err != nil {
			return
		}
		again := beginGroup(nil)
		for i, leaf := range leaves {
			again = binary.BigEndian.AppendUint32(again, uint32(len(leaf)))
			again = binary.BigEndian.AppendUint32(again, recordChecksum(first+uint64(i), again[len(again)-4:], leaf))
			again = append(again, leaf...)
		}
		endGroup(again, first, len(leaves))
		if !bytes.Equal(again, data[:size]) {
			t.Errorf("parsed and encoded again: %x, was %x", again, data[:size])
		}
	})
}
