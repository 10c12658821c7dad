//go:build unix && !linux

package blocklist

func adviseLarge([]byte) {} // the system sees to that by itself
