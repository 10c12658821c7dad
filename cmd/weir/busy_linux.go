package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// holder names the process that has the address open: "unbound, process 42".
// It is empty when that cannot be seen.
func holder(network string, addr netip.AddrPort) string {
	inode := socketInode("/proc/net/"+network, addr)
	if inode == "" {
		inode = socketInode("/proc/net/"+network+"6", addr)
	}
	if inode == "" {
		return ""
	}
	want := "socket:[" + inode + "]"
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && link == want {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("%s, process %s", shown(bytes.TrimSpace(name)), pid)
		}
	}
	return ""
}

// socketInode finds the socket bound to addr, or to all addresses at its port,
// in a table of the kernel. A TCP socket must be listening.
func socketInode(file string, addr netip.AddrPort) string {
	want := addr.Addr().WithZone("") // the table has none
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || strings.Contains(file, "tcp") && f[3] != "0A" {
			continue
		}
		host, port, ok := strings.Cut(f[1], ":")
		p, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || uint16(p) != addr.Port() {
			continue
		}
		raw, err := hex.DecodeString(host)
		if err != nil || len(raw)%4 != 0 {
			continue
		}
		for word := range slices.Chunk(raw, 4) { // words of the machine's order, little-endian here
			slices.Reverse(word)
		}
		if a, ok := netip.AddrFromSlice(raw); ok && (a.Unmap() == want || a.IsUnspecified() || want.IsUnspecified()) {
			return f[9]
		}
	}
	return ""
}
