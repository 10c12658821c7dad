package audit

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
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

// A watchedWitness is a witness and the checkpoint that waits for it.
type watchedWitness struct {
	Witness
	mu     sync.Mutex
	next   []byte        // nil when none waits
	wake   chan struct{} // holds one token when next was set
	failed bool
}

// watch gives witnesses the checkpoints until ctx ends, and then what still waits.
func (n *notary) watch(ctx context.Context) {
	var all sync.WaitGroup
	for _, w := range n.witnesses {
		all.Go(func() {
			for {
				select {
				case <-w.wake:
					w.deliver(n.log)
				case <-ctx.Done():
					w.deliver(n.log)
					return
				}
			}
		})
	}
	all.Wait()
}

func (w *watchedWitness) deliver(l *Log) {
	w.mu.Lock()
	next := w.next
	w.next = nil
	w.mu.Unlock()
	if next == nil {
		return
	}
	err := w.Keep(next)
	switch {
	case err != nil && !w.failed:
		l.cfg.Logger.Error("an audit checkpoint did not reach its witness", "witness", w.String(), "error", err)
	case err == nil && w.failed:
		l.cfg.Logger.Info("audit checkpoints reach their witness again", "witness", w.String())
	}
	w.failed = err != nil
}
