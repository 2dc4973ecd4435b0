package trail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"sallyport/internal/audit/tlog"
)

// A segment is a header, then groups. All integers are big endian, all checksums CRC-32C.
//
//	segment  magic[8] | origin length u16 | origin | first sequence number u64 | crc u32 (of all before it)
//	group    magic[4] | count u32 | bytes u32 | first sequence number u64 | crc u32 (of all before it) | records
//	record   length u32 | crc u32 (of sequence number u64, length, bytes) | bytes
//
// One group is one write and one fsync, and the next is written only after it: so the header of a later group proves
// that everything before it was durable. The checksum of a record covers its number and length as well, and a record is
// never empty, so that neither a run of zeros nor a displaced record passes for one.
const (
	segmentMagic = "SALLYPJ\x01"
	groupMagic   = "\x00SG\x01" // the zero byte occurs in no leaf, as JSON allows no control characters

	groupHeaderSize  = 24
	recordHeaderSize = 8

	maxGroupRecords = 4096
	maxGroupBytes   = 8 << 20 // of the records, headers included
)

func checksum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // the same shared table on each call
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

func appendSegmentHeader(dst []byte, origin string, first uint64) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(origin)))
	dst = append(dst, origin...)
	dst = binary.BigEndian.AppendUint64(dst, first)
	return binary.BigEndian.AppendUint32(dst, checksum(dst[start:]))
}

func segmentHeaderSize(origin string) int { return len(segmentMagic) + 2 + len(origin) + 8 + 4 }

// checkSegmentHeader compares the whole header, since each of its fields is known beforehand.
func checkSegmentHeader(data []byte, origin string, first uint64) error {
	want := appendSegmentHeader(nil, origin, first)
	switch {
	case len(data) >= len(want) && bytes.Equal(data[:len(want)], want):
		return nil
	case !bytes.HasPrefix(data, []byte(segmentMagic)):
		return errors.New("segment header: bad magic or version")
	default:
		return fmt.Errorf("segment header: not of log %q from record %d on, or its checksum fails", origin, first)
	}
}

// beginGroup appends room for a group header; endGroup fills it in when the records are known.
func beginGroup(dst []byte) []byte { return append(dst, make([]byte, groupHeaderSize)...) }

func endGroup(group []byte, first uint64, count int) {
	copy(group, groupMagic)
	binary.BigEndian.PutUint32(group[4:], uint32(count))
	binary.BigEndian.PutUint32(group[8:], uint32(len(group)-groupHeaderSize))
	binary.BigEndian.PutUint64(group[12:], first)
	binary.BigEndian.PutUint32(group[20:], checksum(group[:20]))
}

// appendRecord appends the record of a body and returns its leaf, which shares memory with the result.
func appendRecord(dst []byte, origin string, seq uint64, body []byte) (_, leaf []byte) {
	start := len(dst)
	dst = append(dst, make([]byte, recordHeaderSize)...)
	dst = tlog.AppendLeaf(dst, origin, seq, body)
	leaf = dst[start+recordHeaderSize:]
	binary.BigEndian.PutUint32(dst[start:], uint32(len(leaf)))
	binary.BigEndian.PutUint32(dst[start+4:], recordChecksum(seq, dst[start:start+4], leaf))
	return dst, leaf
}

func recordChecksum(seq uint64, length, leaf []byte) uint32 {
	return checksum(binary.BigEndian.AppendUint64(make([]byte, 0, 8), seq), length, leaf)
}

// groupHeader is a decoded group header that passed its checksum and limits.
type groupHeader struct {
	first uint64
	count int
	size  int // of the records in bytes
}

func parseGroupHeader(data []byte) (groupHeader, error) {
	if len(data) < groupHeaderSize {
		return groupHeader{}, errors.New("group header is cut short")
	}
	if string(data[:4]) != groupMagic || binary.BigEndian.Uint32(data[20:]) != checksum(data[:20]) {
		return groupHeader{}, errors.New("group header: bad magic or checksum")
	}
	h := groupHeader{
		first: binary.BigEndian.Uint64(data[12:]),
		count: int(binary.BigEndian.Uint32(data[4:])),
		size:  int(binary.BigEndian.Uint32(data[8:])),
	}
	if h.count < 1 || h.count > maxGroupRecords || h.size > maxGroupBytes || h.size < h.count*(recordHeaderSize+1) {
		return groupHeader{}, fmt.Errorf("group header: %d records in %d bytes are out of bounds", h.count, h.size)
	}
	return h, nil
}

// parseGroup decodes the group at the start of data, whose first record must have number first. It returns the leaves,
// which share memory with data, and the length of the group. No length is believed before it is within its limit.
func parseGroup(data []byte, first uint64) (leaves [][]byte, size int, err error) {
	h, err := parseGroupHeader(data)
	if err != nil {
		return nil, 0, err
	}
	if h.first != first {
		return nil, 0, fmt.Errorf("group begins with record %d, want %d", h.first, first)
	}
	size = groupHeaderSize + h.size
	if len(data) < size {
		return nil, 0, errors.New("group is cut short")
	}
	rest := data[groupHeaderSize:size]
	leaves = make([][]byte, 0, h.count)
	for seq := first; len(leaves) < h.count; seq++ {
		if len(rest) < recordHeaderSize {
			return nil, 0, fmt.Errorf("record %d is cut short", seq)
		}
		n := int(binary.BigEndian.Uint32(rest))
		if n < 1 || n > tlog.MaxEntrySize || n > len(rest)-recordHeaderSize {
			return nil, 0, fmt.Errorf("record %d: length %d is out of bounds", seq, n)
		}
		leaf := rest[recordHeaderSize : recordHeaderSize+n : recordHeaderSize+n]
		if binary.BigEndian.Uint32(rest[4:]) != recordChecksum(seq, rest[:4], leaf) {
			return nil, 0, fmt.Errorf("record %d: checksum fails", seq)
		}
		leaves = append(leaves, leaf)
		rest = rest[recordHeaderSize+n:]
	}
	if len(rest) != 0 {
		return nil, 0, fmt.Errorf("group has %d bytes after its last record", len(rest))
	}
	return leaves, size, nil
}

// laterGroup reports whether data holds, at any offset, the header of a group after the one that begins with first.
func laterGroup(data []byte, first uint64) bool {
	for {
		i := bytes.Index(data, []byte(groupMagic))
		if i < 0 {
			return false
		}
		if h, err := parseGroupHeader(data[i:]); err == nil && h.first > first {
			return true
		}
		data = data[i+1:]
	}
}
