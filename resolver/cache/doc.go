// Package cache keeps what upstreams said: packed replies and the facts in
// them, never a verdict. Who may have an answer is decided anew each time one
// is handed out, so a change of policy needs no flush.
//
// The cache is split into shards, each under its own mutex with its share of the
// byte budget. Keys are found by a seeded 64-bit hash and then compared in full,
// so two names that collide only evict each other. A shard has two lists in the
// order of use: a small window for what is new, and main, into which gets what was
// asked for a second time while the window had it, or soon after. So names that
// are asked for once, by the million, push out each other and nobody else.
//
// Time is monotonic nanoseconds that the caller reads once per packet; a step of
// the wall clock changes no TTL.
package cache
