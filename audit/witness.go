package audit

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// A Witness keeps signed checkpoints where who has the store and its key cannot change
// them. Keep may be slow: it is called by a goroutine of its own, with the newest
// checkpoint alone when several came meanwhile.
type Witness interface {
	Keep(checkpoint []byte) error
	String() string // as the operator wrote it
}

// NewWitness returns the witness of a configuration: "file:PATH" appends to a file,
// "syslog" writes to this system's log and "syslog://HOST:PORT" to a server's, over UDP.
func NewWitness(text string) (Witness, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok && path != "" {
		return fileWitness(text), nil
	}
	if text == "syslog" {
		return syslogWitness(text), nil
	}
	if server, ok := strings.CutPrefix(text, "syslog://"); ok {
		if _, _, err := net.SplitHostPort(server); err == nil {
			return syslogWitness(text), nil
		}
	}
	return nil, fmt.Errorf("unknown witness %q: want file:PATH, syslog or syslog://HOST:PORT", text)
}

// A syslogWitness opens its connection for each checkpoint.
type syslogWitness string

func (w syslogWitness) String() string { return string(w) }

func (w syslogWitness) Keep(checkpoint []byte) error {
	return keepInSyslog(strings.TrimPrefix(strings.TrimPrefix(string(w), "syslog"), "://"), checkpoint)
}

// A fileWitness appends each checkpoint and an empty line, and waits for the disk. The
// file is opened each time, so that it may be rotated, or lie on a disk that comes and goes.
type fileWitness string

func (w fileWitness) String() string { return string(w) }

func (w fileWitness) Keep(checkpoint []byte) (err error) {
	f, err := os.OpenFile(strings.TrimPrefix(string(w), "file:"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := f.Write(append(checkpoint[:len(checkpoint):len(checkpoint)], '\n')); err != nil {
		return err
	}
	return f.Sync()
}
