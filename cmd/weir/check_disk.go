package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
)

// onDisk returns what a start would stumble over though the file is right: groups and paths as this machine has them. It
// looks and changes nothing. Whether the user that runs the server may write somewhere is not looked at: another may check.
func onDisk(cfg *Config) []Problem {
	f := newFaults(cfg)
	a := &cfg.Admin
	f.group(&a.Group)
	f.group(&a.ReadersGroup)
	f.folder(&cfg.Audit.Path, cfg.Resolve(cfg.Audit.Path), "the audit store")
	f.folder(&cfg.Lists.Path, cfg.Resolve(cfg.Lists.Path), "the folder of lists")
	f.socket(&a.Socket, cfg.Resolve(a.Socket))
	if a.Readers != "" {
		f.socket(&a.Readers, cfg.readers())
		if whole(cfg.Resolve(a.Socket)) == whole(cfg.readers()) {
			f.at(&a.Readers, "the admin socket and the readers' socket are one file, behind a symbolic link", "each needs one of its own")
		}
	}
	f.clientKeys()
	return f.report.sorted()
}

// group reports a group that does not exist.
func (f *faults) group(field *string) {
	if *field == "" {
		return
	}
	if _, err := user.LookupGroup(*field); err != nil {
		f.at(field, fmt.Sprintf("this machine has no group %q", *field), "`getent group` lists those it has; its users are who may use the socket")
	}
}

// folder reports a folder that is none, or that cannot be made; what names the path is field.
func (f *faults) folder(field any, path, what string) {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		_, linked := os.Lstat(at)
		switch {
		case err == nil && info.IsDir(), at == filepath.Dir(at):
			return
		case err == nil:
			f.at(field, fmt.Sprintf("%s cannot be %s: %s is no folder", what, path, at), "name a folder; it is made if it is not there")
			return
		case linked == nil:
			f.at(field, fmt.Sprintf("%s cannot be %s: %s is a symbolic link that leads nowhere", what, path, at), "make what it leads to")
			return
		}
	}
}

// socket reports a path where no socket can be made. One of a server, that runs or ran, is replaced at a start.
func (f *faults) socket(field *string, path string) {
	f.folder(field, filepath.Dir(path), "the folder of the socket")
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
		f.at(field, fmt.Sprintf("a socket cannot be %s: a file that is no socket is in the way", path), "move that file away, or choose another path")
	}
}

// clientKeys reports a file of client keys that is none, or has no folder.
func (f *faults) clientKeys() {
	a := &f.cfg.Audit
	path := f.cfg.clientKeys()
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		f.at(&a.ClientKeys, fmt.Sprintf("client keys cannot be kept in %s: it is no regular file", path), "name a file; it is made if it is not there")
	case err != nil && a.ClientKeys != "" && a.ClientPrivacy == "keyed":
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			f.at(&a.ClientKeys, fmt.Sprintf("client keys cannot be kept in %s: its folder is not there", path), "make the folder, or see that its volume is mounted")
		}
	}
}

// whole is path with every symbolic link on its way resolved, as far as it is there.
func whole(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(whole(dir), filepath.Base(path))
	}
	return path
}
