package admin

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestSocketIsNeverOpenToAll holds that a socket's file is its owner's before its mode is set.
func TestSocketIsNeverOpenToAll(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenAlone(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info.Mode(), err)
	}
}
