//go:build !linux

package humbly

// On this system threads have no priority of their own.
func lower() {}

// Become does nothing here.
func Become() {}

// Prompt does nothing here.
func Prompt() {}
