// Package cache keeps what upstreams said: packed replies and the facts in
// them, never a verdict. Who may have an answer is decided anew each time one
// is handed out, so a change of policy needs no flush.
//
// The cache is split into shards, each a least-recently-used list under its
// own mutex with its share of the byte budget. Keys are found by a seeded
// 64-bit hash and then compared in full, so two names that collide only evict
// each other. Time is monotonic nanoseconds that the caller reads once per
// packet; a step of the wall clock changes no TTL.
package cache
