package jose

// SignatureOf verifies form, header and signature of a token with any payload, for vectors whose payload is no JSON.
func SignatureOf(text string, keys *Set) error {
	p, err := parse("vector", text)
	if err != nil {
		return err
	}
	want := Profile{Op: "vector", Types: []string{"", "jwt"}, Algorithms: ForeignAlgorithms()}
	if err := want.accepts(p.header); err != nil {
		return err
	}
	key, ok := keys.find(p.header)
	if !ok {
		return refusal("vector", "key")
	}
	if !p.header.Algorithm.verify(key.public, []byte(p.signed), p.signature) {
		return refusal("vector", "signature")
	}
	return nil
}

// HeaderOf reads a header only.
func HeaderOf(text string) (Header, error) {
	p, err := parse("vector", text)
	return p.header, err
}

// VerifyBytes verifies a bare signature where the algorithm fits the key.
func VerifyBytes(k Key, a Algorithm, message, signature []byte) bool {
	return k.allows(a) && a.verify(k.public, message, signature)
}
