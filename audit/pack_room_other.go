//go:build !linux

package audit

// roomIn returns how many octets a file in dir may still take, which is not known.
func roomIn(string) (octets uint64, known bool) { return 0, false }
