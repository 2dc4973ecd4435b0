// Package verify owns the offline verification of a Sallyport log and of its receipts, for anybody who has the log's
// files and its public key: C2SP tlog-tiles, tlog-checkpoint and tlog-proof over RFC 6962 Merkle trees.
//
// It leaves fetching over a network to its callers and needs no running system: a Source is any way to read the files.
// It believes nothing but the key it is given. Every entry is hashed again, compared with the tiles, with the tree above
// them and with the signed checkpoint, and must itself state the log and the index at which it stands. Checkpoints kept
// from earlier show a log that was cut or rewritten by the holder of its key. The first bad index is named.
package verify
