package extauthz

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"sallyport/internal/plumbing/httpsafe"
)

// Limits of the gRPC listener. A message holds a request's header and, where the proxy sends it along, its body.
const (
	maxBody    = 1 << 20 // bytes that Envoy may be set up to send: with_request_body.max_request_bytes
	maxMessage = maxBody + 256<<10
	maxStreams = 1024 // of one connection
)

// GRPC returns a server of envoy.service.auth.v3.Authorization, and of grpc.health.v1.Health. config must require
// client certificates; nil is for loopback, where proxies have tokens.
func (s *Service) GRPC(config *tls.Config) *grpc.Server {
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	server := grpc.NewServer(grpc.Creds(creds), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(httpsafe.MaxHeaderBytes), grpc.ConnectionTimeout(httpsafe.ReadHeaderTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}))
	authv3.RegisterAuthorizationServer(server, &authorization{service: s})
	state := health.NewServer()
	state.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, state)
	return server
}

// An authorization answers Envoy.
type authorization struct {
	authv3.UnimplementedAuthorizationServer
	service *Service
}

// Check answers one question. Its error is always nil: an error would pass the request where Envoy is set up with
// failure_mode_allow.
func (a *authorization) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return response(a.service.Ask(ctx, peerOf(ctx), requestOf(in.GetAttributes()))), nil
}

// peerOf is the proxy that asks.
func peerOf(ctx context.Context) Peer {
	var p Peer
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		p.Tokens = md.Get(TokenHeader)
	}
	from, ok := peer.FromContext(ctx)
	if !ok {
		return p
	}
	if ap, err := netip.ParseAddrPort(from.Addr.String()); err == nil {
		p.IP = ap.Addr().Unmap().String()
	}
	if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
		p.Certificate = info.State.PeerCertificates[0]
	}
	return p
}

// The names of context_extensions.
const (
	extUpstream    = "upstream"
	extProtocol    = "protocol"
	extEnvironment = "environment"
)

// requestOf reads what Envoy says of a request. It reads any message without a fault, and leaves judging it to Ask.
func requestOf(in *authv3.AttributeContext) Request {
	h, ext := in.GetRequest().GetHttp(), in.GetContextExtensions()
	q := Request{Upstream: ext[extUpstream], Protocol: ext[extProtocol], Environment: ext[extEnvironment],
		Method: h.GetMethod(), URI: h.GetPath(), Host: h.GetHost(), Header: headersOf(h), Body: h.GetRawBody(),
		IP: in.GetSource().GetAddress().GetSocketAddress().GetAddress(), Certificate: certificateOf(in.GetSource().GetCertificate())}
	faithful := true
	if text := h.GetBody(); text != "" {
		// Envoy writes "!" for bytes that are no UTF-8 unless pack_as_bytes is set: with one, nobody knows what was sent.
		faithful = len(q.Body) == 0 && !strings.Contains(text, "!")
		q.Body = []byte(text)
	}
	partial, said := q.Header["X-Envoy-Auth-Partial-Body"]
	delete(q.Header, "X-Envoy-Auth-Partial-Body")
	whole := said && len(partial) == 1 && partial[0] == "false"
	if !said {
		whole = len(q.Header["Content-Length"]) == 1 // which Ask holds against the body
	}
	q.Whole = faithful && whole
	return q
}

// headersOf are the header fields: as they came, where Envoy is set up with encode_raw_headers, or joined.
func headersOf(h *authv3.AttributeContext_HttpRequest) http.Header {
	out := http.Header{}
	add := func(name, value string) {
		if !strings.HasPrefix(name, ":") {
			out.Add(name, value)
		}
	}
	if raw := h.GetHeaderMap().GetHeaders(); len(raw) > 0 {
		for _, f := range raw {
			value := f.GetValue()
			if len(f.GetRawValue()) > 0 {
				value = string(f.GetRawValue())
			}
			add(f.GetKey(), value)
		}
		return out
	}
	for name, value := range h.GetHeaders() {
		add(name, value)
	}
	return out
}

// maxCertificate bounds a client's certificate, in bytes of its text.
const maxCertificate = 12 << 10

// certificateOf reads the certificate of the client's connection: PEM in URL encoding. What cannot be read counts as none.
func certificateOf(text string) *x509.Certificate {
	if text == "" || len(text) > maxCertificate {
		return nil
	}
	raw, err := url.QueryUnescape(strings.ReplaceAll(text, "+", "%2B"))
	if err != nil {
		return nil
	}
	block, _ := pem.Decode([]byte(raw))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return c
}

// response says a verdict in Envoy's words.
func response(v Verdict) *authv3.CheckResponse {
	if !v.Allow {
		code := codes.PermissionDenied
		if v.Status == http.StatusUnauthorized {
			code = codes.Unauthenticated
		}
		return &authv3.CheckResponse{Status: status.New(code, "sallyport "+v.Decision).Proto(), DynamicMetadata: told(v),
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: statusCode(v.Status)}, Headers: options(v.Header), Body: string(v.Body)}}}
	}
	remove := slices.Clone(v.Remove)
	set := http.Header{}
	for name, values := range v.Header {
		if len(values) == 1 && values[0] != "" {
			set[name] = values
		} else { // Envoy adds no empty field: then the client's own must go
			remove = append(remove, strings.ToLower(name))
		}
	}
	return &authv3.CheckResponse{Status: status.New(codes.OK, "").Proto(), DynamicMetadata: told(v),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: options(set), HeadersToRemove: remove, ResponseHeadersToAdd: options(v.Reply)}}}
}

// statusCode is an HTTP status as Envoy takes it: one that it does not know is 403.
func statusCode(status int) typev3.StatusCode {
	if code := typev3.StatusCode(status); status >= 400 && status < 600 && typev3.StatusCode_name[int32(code)] != "" {
		return code
	}
	return typev3.StatusCode_Forbidden
}

// options are header fields that replace what is there. Of several values of a field each is added.
func options(h http.Header) []*corev3.HeaderValueOption {
	var all []*corev3.HeaderValueOption
	for _, name := range slices.Sorted(maps.Keys(h)) {
		action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		for _, value := range h[name] {
			all = append(all, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: strings.ToLower(name), Value: value}, AppendAction: action})
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
	}
	return all
}

// told is what other filters and the access log may know: dynamic metadata.
func told(v Verdict) *structpb.Struct {
	fields := map[string]*structpb.Value{"decision": structpb.NewStringValue(v.Decision), "allowed": structpb.NewBoolValue(v.Allow)}
	if v.Allow {
		fields["user"] = structpb.NewStringValue(v.Header.Get(UserHeader))
		fields["resource"] = structpb.NewStringValue(v.Header.Get(ResourceHeader))
	}
	return &structpb.Struct{Fields: fields}
}
