//go:build unix

package audit

import (
	"errors"
	"log/syslog"
	"strings"
)

// keepInSyslog writes a checkpoint as one message, its lines joined by " | ", to a
// server over UDP, or to this system's log when that is empty.
func keepInSyslog(server string, checkpoint []byte) error {
	network := ""
	if server != "" {
		network = "udp"
	}
	to, err := syslog.Dial(network, server, syslog.LOG_NOTICE|syslog.LOG_AUTHPRIV, "weir-audit")
	if err != nil {
		return err
	}
	return errors.Join(to.Notice("checkpoint "+strings.ReplaceAll(strings.TrimSuffix(string(checkpoint), "\n"), "\n", " | ")), to.Close())
}
