// Package history keeps what was in force: for each revision the text of the
// configuration and the digests of the lists, so that a record of long ago can
// be explained by the rules of its time.
//
// Each revision is a file of its own, NUMBER.json.zst, in one folder: JSON in one
// zstd frame (RFC 8878), written beside its place, synced and renamed. Numbers
// begin at 1 and rise over restarts; a start with the digest of the newest
// revision is that revision. The newest [Most] are kept.
//
//	{"revision": 7, "digest": "ada5e9b5…", "since": "2026-11-22T20:35:17Z", "file": "config.toml", "text": "version = 1\n…",
//	 "lists": [{"category": "ads", "name": "lists/ads.txt", "digest": "f00d…", "entries": 154}]}
//
// What the configuration holds that is secret is blanked before it comes here.
package history
