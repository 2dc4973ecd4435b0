package openai

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 4 << 20

// events splits a stream of server-sent events (WHATWG HTML, section 9.2) and
// calls each with every event, its blank line included, and whether more is
// there already. The event is valid until each returns. A stream that ends inside
// an event is broken off, except that the last blank line may be missing behind
// [DONE].
func events(from io.Reader, each func(event []byte, more bool) error) error {
	return split(bufio.NewReaderSize(from, 32<<10), each)
}

func split(in *bufio.Reader, each func(event []byte, more bool) error) error {
	var event []byte
	begun := false // the line was begun by an earlier piece
	for {
		piece, err := in.ReadSlice('\n')
		event = append(event, piece...)
		if len(event) > maxEvent {
			return errors.New("an event is too long")
		}
		switch {
		case err == nil && !begun && blank(piece):
			if err := each(event, in.Buffered() > 0); err != nil {
				return err
			}
			event = event[:0]
		case errors.Is(err, io.EOF):
			return lastEvent(event, each)
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
		begun = err != nil
	}
}

// lastEvent handles what stands at the end of a stream without a blank line.
func lastEvent(event []byte, each func([]byte, bool) error) error {
	if data, ok := dataOf(event); ok && bytes.Equal(data, doneMark()) {
		return each(append(bytes.TrimRight(event, "\r\n"), "\n\n"...), false)
	}
	if len(bytes.TrimSpace(event)) > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func doneMark() []byte { return []byte("[DONE]") }

func blank(line []byte) bool { return len(bytes.TrimRight(line, "\r\n")) == 0 }

// dataOf returns the data of an event, its lines joined, and whether it has any.
func dataOf(event []byte) ([]byte, bool) {
	var data []byte
	found := 0
	for line := range bytes.Lines(event) {
		value, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:"))
		if !ok {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if found++; found == 1 {
			data = value
			continue
		}
		data = append(append(data[:len(data):len(data)], '\n'), value...)
	}
	return data, found > 0
}

// withData appends the event with other data: its other lines as they are, then
// the data.
func withData(out, event, data []byte) []byte {
	for line := range bytes.Lines(event) {
		if !bytes.HasPrefix(line, []byte("data:")) && !blank(line) {
			out = append(append(out, bytes.TrimRight(line, "\r\n")...), '\n')
		}
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		out = append(append(append(out, "data: "...), line...), '\n')
	}
	return append(out, '\n')
}
