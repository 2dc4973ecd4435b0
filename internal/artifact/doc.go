// Package artifact answers one question: what is protected, and where are its bytes?
//
// Its rooms, from the name of a model down to the disk:
//
//   - catalog: organisations, projects, models, versions and files; resolves a name to one digest
//   - vault: the encrypted registry, which opens only with a permit
//   - format: what a file is, judged by its content; what cannot be judged is refused
//   - seal: the encrypted stream, C2SP chunked-encryption, with random access
//   - keyring: data keys wrapped by versioned key-encryption keys; rotation and shredding
//   - blob: immutable sealed bytes under their digest
//
// The house holds no code itself.
package artifact
