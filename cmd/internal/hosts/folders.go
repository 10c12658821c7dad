package hosts

import (
	"cmp"
	"os"

	"github.com/fsnotify/fsnotify"
)

// watch watches the folders of all files, as far as they are there.
func (w *Watcher) watch() {
	w.concerned = make(map[string][]*leaseFile)
	wanted := make(map[string]bool)
	for _, f := range w.files {
		folders, files := f.folders()
		for _, folder := range folders {
			wanted[folder] = true
		}
		for _, file := range files {
			w.concerned[file] = append(w.concerned[file], f)
		}
	}
	if w.events == nil {
		return
	}
	for folder := range w.watched {
		if !wanted[folder] {
			w.unwatch(folder)
		}
	}
	var failed error
	for folder := range wanted {
		info, err := os.Stat(folder)
		if err != nil {
			w.unwatch(folder)
			continue // the file in it is missing, which is said
		}
		if old := w.watched[folder]; old != nil {
			if os.SameFile(old, info) {
				continue
			}
			w.unwatch(folder) // another one has its name now
		}
		if err := w.events.Add(folder); err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		w.watched[folder] = info
		// What happened before the watch began shows in the files.
	}
	w.say(blind, failed)
}

func (w *Watcher) unwatch(folder string) {
	if w.watched[folder] != nil {
		delete(w.watched, folder)
		_ = w.events.Remove(folder) // if its watch went already, that is what is wanted
	}
}

// event takes one event of the file system.
func (w *Watcher) event(e fsnotify.Event) {
	if w.watched[e.Name] != nil && e.Has(fsnotify.Remove|fsnotify.Rename) { // the watch went with the folder
		w.unwatch(e.Name)
		w.lookAt = w.c.Now()
	}
	files := w.concerned[e.Name]
	for _, f := range files {
		f.doubt = true
		w.note()
	}
	w.c.Logger.Debug("file event", "file", e.Name, "event", e.Op.String(), "counts", len(files) > 0)
}

// trouble takes an error of the watches: events are missing, so every file may have changed.
func (w *Watcher) trouble(err error) {
	w.c.Logger.Warn("events of lease files were lost; reading all of them", "error", err)
	for folder := range w.watched {
		w.unwatch(folder)
	}
	w.doubt()
	w.note()
	w.lookAt = w.c.Now()
}
