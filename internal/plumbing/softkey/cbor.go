package softkey

import "encoding/binary"

// The major types of CBOR (RFC 8949 section 3.1) that an authenticator writes.
const (
	unsignedType = 0
	negativeType = 1
	bytesType    = 2
	textType     = 3
	arrayType    = 4
	mapType      = 5
)

const es256 = -7 // COSE algorithm, RFC 9053

// head is the first bytes of an item: its type and its value or length.
func head(kind byte, n uint64) []byte {
	switch b := kind << 5; {
	case n < 24:
		return []byte{b | byte(n)}
	case n < 1<<8:
		return []byte{b | 24, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{b | 25}, uint16(n))
	default:
		return binary.BigEndian.AppendUint32([]byte{b | 26}, uint32(n))
	}
}

func integer(n int64) []byte {
	if n < 0 {
		return head(negativeType, uint64(-1-n))
	}
	return head(unsignedType, uint64(n))
}

func bytesOf(b []byte) []byte { return append(head(bytesType, uint64(len(b))), b...) }
func textOf(s string) []byte  { return append(head(textType, uint64(len(s))), s...) }

// coseKey is an uncompressed point of P-256 as a COSE key (RFC 9053 section 7.1.1).
func coseKey(point []byte) []byte {
	out := head(mapType, 5)
	for _, pair := range [][2]int64{{1, 2}, {3, es256}, {-1, 1}} {
		out = append(append(out, integer(pair[0])...), integer(pair[1])...)
	}
	out = append(append(out, integer(-2)...), bytesOf(point[1:33])...)
	return append(append(out, integer(-3)...), bytesOf(point[33:65])...)
}
