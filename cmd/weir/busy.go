package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"weir/audit"
	"weir/resolver"
)

// bindHint says why an address cannot be listened on and what to do.
func bindHint(err error) error {
	var b *resolver.BindError
	if !errors.As(err, &b) {
		return err
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := holder(b.Network, b.Addr)
		if who == "" {
			who = "another program (run as root to see which)"
		}
		return fmt.Errorf("%s %s is taken by %s; stop it, or choose another port in [server] listen", b.Network, b.Addr, who)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s %s needs a right that this user lacks: ports below 1024 take CAP_NET_BIND_SERVICE "+
			"(setcap cap_net_bind_service=+ep on the binary, or AmbientCapabilities= in a systemd unit), or choose a port from 1024 in [server] listen", b.Network, b.Addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s: this machine does not have that address; see `ip address`, and [server] listen: 0.0.0.0 and [::] follow addresses that come and go", b.Network, b.Addr)
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%s %s: this machine has no support for that address family; leave it out of [server] listen", b.Network, b.Addr)
	}
	return err
}

// openHint says why the audit store cannot be opened and what to do.
func openHint(err error) error {
	switch {
	case errors.Is(err, audit.ErrLocked):
		return fmt.Errorf("%w; is another weir running with the same [audit] path?", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let the user that runs weir write the folder of [audit] path", err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w; free space, or move [audit] path", err)
	}
	return err
}
