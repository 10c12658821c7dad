package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOnDisk asserts that a check finds what a start would stumble over on this machine, and where, and makes nothing.
func TestOnDisk(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"[admin]\nsocket = \"s\"\nreaders = \"r\"\n[audit]\npath = \"deep/er\"", ""},
		{"[admin]\ngroup = \"no-such-group\"", `9:9: this machine has no group "no-such-group"`},
		{"[admin]\nreaders = \"r\"\nreaders_group = \"no-such-group\"", `10:17: this machine has no group "no-such-group"`},
		{"[audit]\npath = \"file/audit\"", "9:8: the audit store cannot be D/file/audit: D/file is no folder"},
		{"[audit]\npath = \"file\"", "9:8: the audit store cannot be D/file: D/file is no folder"},
		{"[audit]\npath = \"nowhere/audit\"", "9:8: the audit store cannot be D/nowhere/audit: D/nowhere is a symbolic link that leads nowhere"},
		{"[lists]\npath = \"file\"", "9:8: the folder of lists cannot be D/file: D/file is no folder"},
		{"[admin]\nsocket = \"file\"", "9:10: a socket cannot be D/file: a file that is no socket is in the way"},
		{"[admin]\nsocket = \"file/s\"", "9:10: the folder of the socket cannot be D/file: D/file is no folder"},
		{"[admin]\nsocket = \"socket\"", ""},
		{"[admin]\nsocket = \"here/s\"\nreaders = \"there/s\"", "10:11: the admin socket and the readers' socket are one file, behind a symbolic link"},
		{"[audit]\nclient_keys = \"/dev/null\"", "9:15: client keys cannot be kept in /dev/null: it is no regular file"},
		{"[audit]\nclient_keys = \"here\"", "9:15: client keys cannot be kept in D/here: it is no regular file"},
		{"[audit]\nclient_keys = \"none/keys\"\nclient_privacy = \"keyed\"", "9:15: client keys cannot be kept in D/none/keys: its folder is not there"},
		{"[audit]\nclient_keys = \"keys\"\nclient_privacy = \"keyed\"", ""},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.toml")
		text := "version = 1\n[upstream.default]\nservers = [\"udp://192.0.2.53\"]\n[[policy]]\nname = \"all\"\nclients = [\"any\"]\ndefault = \"allow\"\n" + c.lines + "\n"
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			os.WriteFile(file, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600),
			os.Mkdir(filepath.Join(dir, "here"), 0o700), os.Symlink("here", filepath.Join(dir, "there")),
			os.Symlink("elsewhere", filepath.Join(dir, "nowhere")),
			syscall.Bind(fd, &syscall.SockaddrUnix{Name: filepath.Join(dir, "socket")}), syscall.Close(fd),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		before := filesBelow(t, dir)
		cfg, problems, err := Load(file)
		if err != nil || cfg == nil {
			t.Fatal(err, problems)
		}
		got := ""
		for _, p := range onDisk(cfg) {
			got += strings.ReplaceAll(strings.TrimPrefix(p.Error(), file+":"), dir, "D")
			if len(p.Notes) == 0 {
				t.Errorf("no hint: %v", p)
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.lines, got, c.want)
		}
		if diff := cmp.Diff(before, filesBelow(t, dir)); diff != "" {
			t.Errorf("%s: the folder has changed:\n%s", c.lines, diff)
		}
	}
}

// filesBelow is every file below dir with its mode and size.
func filesBelow(t *testing.T, dir string) (all []string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all = append(all, fmt.Sprint(path, info.Mode(), info.Size()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
