package sallyport

import (
	"encoding/json"
	"strconv"
)

// append writes an event without Detail and Basis, byte for byte as encoding/json
// does, in a fraction of the time: two of them are written for every call.
func (e *Event) append(dst []byte) []byte {
	o := object{buf: append(dst, '{'), empty: true}
	o.always("t", string(e.Type))
	o.name("at")
	o.buf = strconv.AppendInt(o.buf, e.At, 10)
	o.text("d", e.Decision)
	o.text("who", string(e.Who))
	o.text("a", string(e.Action))
	o.text("on", e.On)
	o.text("o", e.Outcome)
	o.text("f", e.Facts)
	o.list("r", e.Reasons)
	o.list("e", e.Errors)
	o.list("ob", e.Obligations)
	o.text("needs", e.Needs)
	if e.Asked != nil {
		o.name("q")
		o.buf = e.Asked.append(o.buf)
	}
	if e.Delivered != nil {
		o.name("n")
		o.buf = e.Delivered.append(o.buf)
	}
	return append(o.buf, '}')
}

func (a *Asked) append(dst []byte) []byte {
	o := object{buf: append(dst, '{'), empty: true}
	o.text("w", a.Door)
	o.text("ip", a.IP)
	o.text("p", a.File)
	o.text("sc", a.Scope)
	o.number("al", int64(a.Assurance))
	o.number("au", a.AuthTime)
	o.text("s", a.Session)
	o.text("fm", a.Family)
	o.number("st", a.Staleness)
	o.text("cl", a.Client)
	o.text("ac", a.Actors)
	o.text("af", a.ActedOn)
	if a.Bound {
		o.name("bd")
		o.buf = append(o.buf, "true"...)
	}
	o.text("pu", a.Purpose)
	o.text("nw", a.Network)
	o.number("rk", int64(a.Risk))
	if a.Device != nil {
		o.name("dv")
		o.buf = a.Device.append(o.buf)
	}
	if a.Working {
		o.name("wk")
		o.buf = append(o.buf, "true"...)
	}
	o.text("co", a.Country)
	o.text("to", a.To)
	o.text("ca", a.Carries)
	o.text("op", a.Opinions)
	o.text("h", a.History)
	o.number("tr", a.Trained)
	return append(o.buf, '}')
}

func (d *AskedDevice) append(dst []byte) []byte {
	o := object{buf: append(dst, '{'), empty: true}
	o.always("id", d.ID)
	o.text("c", d.Class)
	o.number("l", int64(d.Level))
	o.number("pa", d.Posture)
	o.text("os", d.OS)
	o.text("g", d.Good)
	return append(o.buf, '}')
}

func (d *Delivered) append(dst []byte) []byte {
	o := object{buf: append(dst, '{'), empty: true}
	o.number("c", int64(d.Status))
	o.number("b", d.Bytes)
	o.text("rg", d.Ranges)
	o.number("ti", d.TokensIn)
	o.number("to", d.TokensOut)
	o.number("ac", d.AfterCut)
	o.number("us", d.Micros)
	o.text("end", d.End)
	return append(o.buf, '}')
}

// An object is a JSON object being written. Members with a zero value are left
// out, as "omitempty" does.
type object struct {
	buf   []byte
	empty bool
}

func (o *object) name(name string) {
	if !o.empty {
		o.buf = append(o.buf, ',')
	}
	o.empty = false
	o.buf = append(append(append(o.buf, '"'), name...), '"', ':')
}

func (o *object) always(name, v string) {
	o.name(name)
	o.buf = appendText(o.buf, v)
}

func (o *object) text(name, v string) {
	if v != "" {
		o.always(name, v)
	}
}

func (o *object) number(name string, v int64) {
	if v != 0 {
		o.name(name)
		o.buf = strconv.AppendInt(o.buf, v, 10)
	}
}

func (o *object) list(name string, list []string) {
	if len(list) == 0 {
		return
	}
	o.name(name)
	for i, v := range list {
		o.buf = appendText(append(o.buf, "[,"[min(i, 1)]), v)
	}
	o.buf = append(o.buf, ']')
}

// The bytes that stand in a JSON string as they are, a bit each: printable ASCII
// without the quote, the backslash and what encoding/json escapes for HTML.
const (
	plainLow  uint64 = 0xffffffff << 32 &^ (1<<'"' | 1<<'&' | 1<<'<' | 1<<'>') // below 64
	plainHigh uint64 = (1<<63 - 1) &^ (1 << ('\\' - 64))                       // 64 to 126
)

// appendText writes a JSON string. Only what needs no escape is written here; the
// rest is left to encoding/json.
func appendText(dst []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c < 64 && plainLow>>c&1 == 0 || c >= 64 && (c > 127 || plainHigh>>(c-64)&1 == 0) {
			escaped, _ := json.Marshal(v) // strings cannot fail
			return append(dst, escaped...)
		}
	}
	return append(append(append(dst, '"'), v...), '"')
}
