// Package audit answers the question: what happened? It holds no code; its rooms do.
//
//   - trail: the append-only record of every action, durable before it is acknowledged
//   - trail/tiles: the Merkle log of the trail as C2SP tlog-tiles files on a POSIX file system
//   - tlog: tiles, checkpoints, proofs and receipts, as pure functions over bytes
//   - past: what somebody was at an instant, rebuilt from the log's events
//   - tally: how much each person did lately, counted while the trail is followed
//   - history: a search index that follows the trail; rebuildable, never the truth
package audit
