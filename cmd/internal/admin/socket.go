package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// sockets are the paths to listen on, each with the group that may use it.
func (s *Server) sockets() [][2]string {
	if s.Readers == "" {
		return [][2]string{{s.Socket, s.Group}}
	}
	return [][2]string{{s.Socket, s.Group}, {s.Readers, s.ReadersGroup}}
}

// MakeFolders makes the sockets' folders where they are missing: before anything else that
// has its files there does, for others would let nobody pass. Members of a group may pass
// through, and not look around.
func (s *Server) MakeFolders() error {
	mode := os.FileMode(0o700)
	if s.Group != "" || s.ReadersGroup != "" {
		mode = 0o711
	}
	for _, at := range s.sockets() {
		if err := os.MkdirAll(filepath.Dir(at[0]), mode); err != nil {
			return fmt.Errorf("admin socket: %w", err)
		}
	}
	return nil
}

// Listen opens the sockets, all or none.
func (s *Server) Listen() error {
	if err := s.MakeFolders(); err != nil {
		return err
	}
	for _, at := range s.sockets() {
		l, err := openSocket(at[0], at[1])
		if err != nil {
			s.Close()
			return err
		}
		s.listeners = append(s.listeners, l)
		if at[1] != "" && closed(at[0]) {
			s.Logger.Warn("the group cannot reach its admin socket: its folder lets nobody pass; chmod o+x the folder, or put the socket elsewhere",
				"group", at[1], "socket", at[0])
		}
	}
	return nil
}

// Close closes the sockets that Listen opened, for a server that will not Run.
func (s *Server) Close() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// closed says that the folder of a socket lets nobody pass but its owner.
func closed(path string) bool {
	info, err := os.Stat(filepath.Dir(path))
	return err == nil && info.Mode().Perm()&0o011 == 0
}

// openSocket listens on a Unix socket that its owner may use, and a group's members
// if one is named. A socket file that nobody answers on any more is replaced.
func openSocket(path, group string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("admin socket %s: a server already answers on it", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("admin socket %s: a file that is no socket is in the way", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
	}
	l, err := listenAlone(path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	mode := os.FileMode(0o600)
	if group != "" {
		if err = giveTo(path, group); err == nil {
			mode = 0o660
		}
	}
	if err = errors.Join(err, os.Chmod(path, mode)); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket %s: %w", path, err), l.Close())
	}
	return l, nil
}

// listenAlone listens on a Unix socket that from its first moment nobody but its owner may
// use, whatever the process's umask: Linux gives the file the mode that the socket has.
func listenAlone(path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) }) // elsewhere the mode is set a moment later
	}}
	return lc.Listen(context.Background(), "unix", path)
}

// giveTo makes a file one of the group's.
func giveTo(path, group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("group %s: %w", group, err)
	}
	return os.Chown(path, -1, gid)
}

// readerKey is the key, among a connection's values, of what says that it came
// by the readers' socket.
type readerKey struct{}

// operator lets h be for who came by the operators' socket alone.
func (s *Server) operator(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(readerKey{}) != nil {
			s.refuse(w, http.StatusForbidden, errors.New("this socket is for reading: operators use "+s.Socket))
			return
		}
		h(w, r)
	}
}

// connected notes who is at the other end of a connection, and by which socket.
func (s *Server) connected(ctx context.Context, c net.Conn) context.Context {
	ctx = context.WithValue(ctx, actorKey{}, peerOf(c))
	if s.Readers != "" && c.LocalAddr().String() == s.Readers {
		ctx = context.WithValue(ctx, readerKey{}, true)
	}
	return ctx
}
