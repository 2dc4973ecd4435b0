package bench

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	rng "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sallyport/client"
	"sallyport/internal/plumbing/httpsafe"
)

// piece is the length of a range, in bytes.
const piece = 64 << 10

// rangeReaders is at how many clients ranges are measured.
func rangeReaders() []int { return []int{1, 16} }

// sealed measures reading a sealed file through the Hugging Face door.
func (r *run) sealed(ctx context.Context) (err error) {
	dir, err := r.sub("sealed")
	if err != nil {
		return err
	}
	h, err := openHouse(ctx, dir, "", false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.server.Close()) }()
	plain := filepath.Join(dir, "model", weights)
	length, err := writeWeights(plain, r.size.file)
	if err != nil {
		return err
	}
	if _, err := h.caller.Push(ctx, filepath.Dir(plain), model, client.PushOptions{Alias: "main"}); err != nil {
		return err
	}
	ours, err := h.reads(ctx)
	if err != nil {
		return err
	}
	files, base, err := serveFile(plain)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	return r.compareReads(ctx, ours, base, length)
}

func (r *run) compareReads(ctx context.Context, ours, base place, length int64) error {
	const group, against = "sealed", "plain TLS file server"
	whole := func(p place) side { return readers(p.whole(), 1, r.size.round) }
	all, err := turns(ctx, r.size.rounds, whole(ours), whole(base))
	if err != nil {
		return err
	}
	r.add(ratio(of(all[0], megabytes), of(all[1], megabytes), "MB/s", against).atLeast(0.8), group, fmt.Sprintf("whole file, %d MiB", length>>20),
		"a sealed file opened, decided on, recorded and sent, against http.ServeContent of the same bytes; TLS 1.3 and HTTP/1.1 on both sides, one client")
	for _, n := range rangeReaders() {
		ranged := func(p place) side { return readers(p.ranges(length), n, r.size.round) }
		if all, err = turns(ctx, r.size.rounds, ranged(ours), ranged(base)); err != nil {
			return err
		}
		name := fmt.Sprintf("64 KiB ranges, %d at once", n)
		r.add(ratio(of(all[0], megabytes), of(all[1], megabytes), "MB/s", against).atLeast(0.8), group, name,
			"random ranges, each a request of its own with its decision and two durable records, against a file server that keeps no record")
		r.add(added(of(all[0], milli), of(all[1], milli), "ms", against), group, name+", added p50", "what one ranged request costs more, waiting for the disk included")
	}
	return nil
}

// A place is where the file can be had.
type place struct {
	target
	path, token string
}

func (p place) header(ranges string) map[string]string {
	h := map[string]string{}
	if p.token != "" {
		h["Authorization"] = "Bearer " + p.token
	}
	if ranges != "" {
		h["Range"] = ranges
	}
	return h
}

func (p place) whole() target {
	sent := request(http.MethodGet, p.host, p.path, p.header(""), nil)
	t := p.target
	t.status, t.request = "200", func(int) []byte { return sent }
	return t
}

// ranges asks for pieces that begin anywhere.
func (p place) ranges(length int64) target {
	t := p.target
	t.status, t.request = "206", func(i int) []byte {
		at := int64(rng.New(rng.NewPCG(1, uint64(i))).Uint64N(uint64(length - piece)))
		return request(http.MethodGet, p.host, p.path, p.header(fmt.Sprintf("bytes=%d-%d", at, at+piece-1)), nil)
	}
	return t
}

// reads is the file behind the server's own door.
func (h *house) reads(ctx context.Context) (place, error) {
	trust, err := h.trust()
	if err != nil {
		return place{}, err
	}
	token, err := h.token(ctx, client.Hub)
	return place{target: target{host: h.server.Addr(), tls: trust}, path: "/hf/" + model + "/resolve/main/" + weights, token: token.Reveal()}, err
}

// writeWeights makes a safetensors file of one tensor of noise, about size long,
// and returns its length.
func writeWeights(path string, size int64) (length int64, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, err
	}
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size -= size % 4
	header := fmt.Appendf(nil, `{"noise":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, size/4, size)
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	out := bufio.NewWriterSize(f, 1<<20)
	if err := binary.Write(out, binary.LittleEndian, uint64(len(header))); err != nil {
		return 0, err
	}
	if _, err := out.Write(header); err != nil {
		return 0, err
	}
	if _, err := io.CopyN(out, rng.NewChaCha8([32]byte{}), size); err != nil {
		return 0, err
	}
	return 8 + int64(len(header)) + size, out.Flush()
}

// serveFile serves one file over TLS and nothing else.
func serveFile(path string) (*http.Server, place, error) {
	cert, roots, err := certificate()
	if err != nil {
		return nil, place{}, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, place{}, err
	}
	s := &http.Server{ReadHeaderTimeout: httpsafe.ReadHeaderTimeout, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(path)
			if err != nil {
				http.NotFound(w, r)
				return
			}
			defer f.Close()
			http.ServeContent(w, r, weights, time.Time{}, f)
		})}
	go s.ServeTLS(l, "", "") // ends with Close
	trust := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
	return s, place{target: target{host: l.Addr().String(), tls: trust}, path: "/" + weights}, nil
}

// certificate is one of the kind that the server makes for itself.
func certificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots, nil
}
