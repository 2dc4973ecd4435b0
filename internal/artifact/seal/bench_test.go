package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"io"
	"testing"
)

const benchSize = 32 << 20

// BenchmarkBaseline is what the others are compared with: copying, hashing, and AES-256-GCM alone.
func BenchmarkBaseline(b *testing.B) {
	plain, dst := pattern(benchSize), make([]byte, benchSize)
	b.Run("memcpy", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			copy(dst, plain)
		}
	})
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			sha256.Sum256(plain)
		}
	})
	block, _ := aes.NewCipher(make([]byte, 32))
	gcm, _ := cipher.NewGCM(block)
	nonce, ct := make([]byte, 12), make([]byte, 0, sealedChunk)
	b.Run("gcm-16KiB-seal", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			for off := 0; off < benchSize; off += ChunkSize {
				gcm.Seal(ct, nonce, plain[off:off+ChunkSize], nil)
			}
		}
	})
	one := gcm.Seal(nil, nonce, plain[:ChunkSize], nil)
	b.Run("gcm-16KiB-open", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			for off := 0; off < benchSize; off += ChunkSize {
				if _, err := gcm.Open(dst[off:off], nonce, one, nil); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	plain := pattern(benchSize)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		w, _ := NewWriter(io.Discard, testKey(1), [SaltSize]byte{}, nil)
		_, _ = w.Write(plain)
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	file := sealed(b, testKey(1), [SaltSize]byte{}, nil, pattern(benchSize))
	r := open(b, file, testKey(1), nil)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Stream(0, benchSize).WriteTo(io.Discard); n != benchSize || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkRandom64KiB(b *testing.B) {
	file := sealed(b, testKey(1), [SaltSize]byte{}, nil, pattern(benchSize))
	r := open(b, file, testKey(1), nil)
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := r.ReadAt(p, int64(i)*7_919_333%(benchSize-int64(len(p)))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	file := sealed(b, testKey(1), [SaltSize]byte{}, nil, pattern(100_000))
	src := bytes.NewReader(file)
	key := testKey(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(src, int64(len(file)), key, nil); err != nil {
			b.Fatal(err)
		}
	}
}
