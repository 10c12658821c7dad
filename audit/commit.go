package audit

import (
	"errors"
	"os"
	"path/filepath"
)

// commit writes the closed blocks to the store, and into a new one if that there
// turns out to be damaged. No block is open then, so the frames have done.
func (w *writer) commit() error {
	l := w.log
	err := w.commitTo(l.store.Load(), l.sealer.closed)
	var damage *DamageError
	if errors.As(err, &damage) && l.cfg.OnError == StartFresh {
		if err = l.replace(damage); err == nil {
			err = w.commitTo(l.store.Load(), l.sealer.closed)
		}
	}
	if w.report(err) != nil {
		return err
	}
	closed := l.sealer.closed
	l.status.Lock()
	l.status.last = closed[len(closed)-1].header
	if l.status.oldest == 0 {
		l.status.oldest, l.status.begins = closed[0].header.number, closed[0].header.min
	}
	l.status.Unlock()
	w.writeHead()
	l.notary.committed(closed)
	l.sealer.committed()
	l.wal.reset()
	w.publish()
	signal(l.stored)
	return nil
}

// writeHead notes the last segment beside the store. That it fails costs nothing
// but the proof that it would have given.
func (w *writer) writeHead() {
	if w.head == nil {
		f, err := os.OpenFile(filepath.Join(w.log.cfg.Dir, headFile), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			w.log.cfg.Logger.Warn("audit head file was not written", "error", err)
			return
		}
		w.head = f
	}
	last := &w.log.sealer.closed[len(w.log.sealer.closed)-1]
	if _, err := w.head.WriteAt(head{last.header.last(), last.header.number, last.digest}.bytes(), 0); err != nil {
		w.log.cfg.Logger.Warn("audit head file was not written", "error", err)
	}
}

func (w *writer) closeHead() {
	if w.head != nil {
		w.head.Close()
	}
}
