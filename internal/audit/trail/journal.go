package trail

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	segmentSuffix   = ".journal"
	maxSegmentBytes = 256 << 20 // a segment is read whole at the start
	markEvery       = 64 << 10  // bytes between two entries of a segment's index
	maxReadBytes    = 1 << 20   // of leaves that one read returns, but always one record
)

// journal is the directory of segments. One goroutine appends; any number read.
type journal struct {
	dir    string
	origin string
	limit  int64 // bytes after which the next segment begins
	files  Files
	active *os.File // the last segment; only the appending goroutine uses it

	mu       sync.RWMutex // guards what follows
	segments []*segment   // in order, without gaps, never empty once open
}

// segment is one file and the records [first, next) in it.
type segment struct {
	path        string
	first, next uint64
	size        int64 // of the whole groups in it, header included
	marks       []mark
}

// mark says that the group beginning with record seq is at offset.
type mark struct {
	seq    uint64
	offset int64
}

// add notes a group that is complete on disk.
func (s *segment) add(first uint64, count, size int) {
	if n := len(s.marks); n == 0 || s.size-s.marks[n-1].offset >= markEvery {
		s.marks = append(s.marks, mark{first, s.size})
	}
	s.next, s.size = first+uint64(count), s.size+int64(size)
}

func (j *journal) path(first uint64) string {
	return filepath.Join(j.dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

// bounds returns the records on disk: [first, next).
func (j *journal) bounds() (first, next uint64) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if len(j.segments) == 0 {
		return 0, 0
	}
	return j.segments[0].first, j.segments[len(j.segments)-1].next
}

// append writes one group and syncs it. After an error nothing more may be appended by this process: what reached the
// disk is unknown, and an fsync that failed once says nothing when it is tried again.
func (j *journal) append(group []byte, first uint64, count int) error {
	j.mu.RLock()
	last := j.segments[len(j.segments)-1]
	j.mu.RUnlock()
	if last.size >= j.limit && last.next > last.first {
		if err := j.roll(first); err != nil {
			return err
		}
	}
	if err := j.files.write(j.active, group); err != nil {
		return err
	}
	if err := j.files.Sync(j.active); err != nil {
		return err
	}
	j.mu.Lock()
	j.segments[len(j.segments)-1].add(first, count, len(group))
	j.mu.Unlock()
	return nil
}

// roll begins a new segment. Its header and its name are durable before any record is in it.
func (j *journal) roll(first uint64) error {
	header := appendSegmentHeader(nil, j.origin, first)
	f, err := j.files.create(j.path(first), header)
	if err != nil {
		return err
	}
	old := j.active
	j.active = f
	j.mu.Lock()
	j.segments = append(j.segments, &segment{path: f.Name(), first: first, next: first, size: int64(len(header))})
	j.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// read returns up to limit leaves from record from on, fewer at the end of a segment. errRetired when the segment is gone.
func (j *journal) read(from uint64, limit int) ([][]byte, error) {
	j.mu.RLock()
	i := slices.IndexFunc(j.segments, func(s *segment) bool { return s.first <= from && from < s.next })
	if i < 0 {
		j.mu.RUnlock()
		return nil, errRetired
	}
	s := *j.segments[i]
	m, _ := slices.BinarySearchFunc(s.marks, from, func(m mark, seq uint64) int {
		if m.seq <= seq {
			return -1
		}
		return 1
	})
	start := s.marks[m-1] // the first mark is the first group: m >= 1
	j.mu.RUnlock()

	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errRetired
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.NewSectionReader(f, start.offset, s.size-start.offset), 128<<10)
	leaves, err := readGroups(r, start.seq, from, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return leaves, nil
}

// readGroups reads the groups from record next on and returns the leaves of [from, from+limit).
func readGroups(r *bufio.Reader, next, from uint64, limit int) (leaves [][]byte, err error) {
	bytes := 0
	for len(leaves) < limit && bytes < maxReadBytes {
		head, err := r.Peek(groupHeaderSize)
		if errors.Is(err, io.EOF) && len(head) == 0 && len(leaves) > 0 {
			return leaves, nil
		}
		if err != nil {
			return nil, err
		}
		h, err := parseGroupHeader(head)
		if err != nil {
			return nil, err
		}
		size := groupHeaderSize + h.size
		if h.first == next && h.first+uint64(h.count) <= from {
			if _, err := r.Discard(size); err != nil {
				return nil, err
			}
			next += uint64(h.count)
			continue
		}
		group := make([]byte, size)
		if _, err := io.ReadFull(r, group); err != nil {
			return nil, err
		}
		all, _, err := parseGroup(group, next)
		if err != nil {
			return nil, err
		}
		next += uint64(len(all))
		if len(leaves) == 0 {
			all = all[len(all)-int(next-from):]
		}
		leaves = append(leaves, all[:min(len(all), limit-len(leaves))]...)
		bytes += size
	}
	return leaves, nil
}

// retirable reports whether the oldest segment is closed and holds only records below covered.
func (j *journal) retirable(covered uint64) bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return len(j.segments) > 1 && j.segments[0].next <= covered
}

// retire deletes the oldest segment, which must be retirable.
func (j *journal) retire() error {
	j.mu.Lock()
	path := j.segments[0].path
	j.segments = j.segments[1:]
	j.mu.Unlock()
	return j.files.remove(path)
}

func (j *journal) close() error {
	if j.active == nil {
		return nil
	}
	return j.active.Close()
}

// tear is an incomplete end of the journal that a crash left behind. None of its records was acknowledged.
type tear struct {
	path string
	keep int64 // bytes to keep; below 0 the file goes, as not even its header was complete
}

// scan reads and checks all segments without changing anything. integrated is the size of the Merkle tree: a record
// below it was durable once, so that a bad group there is damage and never a tear.
func (j *journal) scan(integrated uint64) (*tear, error) {
	names, err := filepath.Glob(filepath.Join(j.dir, "*"+segmentSuffix)) // sorted by name, and so by first record
	if err != nil {
		return nil, err
	}
	var torn *tear
	for i, name := range names {
		first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), segmentSuffix), 10, 64)
		if err != nil || j.path(first) != name {
			return nil, fmt.Errorf("%w: %s is no segment of the journal", ErrDamaged, name)
		}
		if _, next := j.bounds(); i > 0 && first != next {
			return nil, fmt.Errorf("%w: %s begins with record %d, want %d: a segment is missing or cut",
				ErrDamaged, name, first, next)
		}
		s, t, err := j.scanSegment(name, first, i == len(names)-1, integrated)
		if err != nil {
			return nil, err
		}
		if torn = t; s != nil {
			j.segments = append(j.segments, s)
		}
	}
	return torn, nil
}

// scanSegment reads one segment. A torn segment header gives no segment; a torn group gives the segment before it.
func (j *journal) scanSegment(name string, first uint64, last bool, integrated uint64) (*segment, *tear, error) {
	data, err := readBounded(name, maxSegmentBytes+groupHeaderSize+maxGroupBytes)
	if err != nil {
		return nil, nil, err
	}
	head := segmentHeaderSize(j.origin)
	if err := checkSegmentHeader(data, j.origin, first); err != nil {
		// The header is synced before the first group is written, so a torn one has nothing behind it.
		if last && len(data) <= head && first >= integrated {
			return nil, &tear{name, -1}, nil
		}
		return nil, nil, fmt.Errorf("%w: %s at byte 0: %w", ErrDamaged, name, err)
	}
	s := &segment{path: name, first: first, next: first, size: int64(head)}
	for s.size < int64(len(data)) {
		leaves, n, err := parseGroup(data[s.size:], s.next)
		if err == nil {
			s.add(s.next, len(leaves), n)
			continue
		}
		if last && s.next >= integrated && !laterGroup(data[s.size:], s.next) {
			return s, &tear{name, s.size}, nil
		}
		return nil, nil, fmt.Errorf("%w: %s at byte %d: %w", ErrDamaged, name, s.size, err)
	}
	return s, nil, nil
}

// mend removes a tear and opens the last segment for appending.
func (j *journal) mend(t *tear) error {
	if t != nil && t.keep < 0 {
		if err := j.files.remove(t.path); err != nil {
			return err
		}
	} else if t != nil {
		if err := j.files.truncate(t.path, t.keep); err != nil {
			return err
		}
	}
	_, next := j.bounds()
	if len(j.segments) == 0 || t != nil && t.keep < 0 {
		return j.roll(next)
	}
	f, err := os.OpenFile(j.segments[len(j.segments)-1].path, os.O_WRONLY|os.O_APPEND, 0)
	j.active = f
	return err
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%w: %s: not a regular file of at most %d bytes", ErrDamaged, name, limit)
	}
	return os.ReadFile(name)
}
