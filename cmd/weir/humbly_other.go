//go:build !linux

package main

// humbly runs work. On this system threads have no priority of their own.
func humbly(work func()) { work() }
