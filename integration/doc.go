// Package integration runs scripts against the built binary: real processes,
// real sockets, a scripted upstream on loopback. See testdata for the scripts
// and script_test.go for the commands that they may use.
package integration
