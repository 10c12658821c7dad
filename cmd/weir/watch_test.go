package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"pgregory.net/rapid"

	"weir/blocklist"
)

// TestWatch asserts what is told as a change of lists, once, and what is not.
func TestWatch(t *testing.T) {
	const (
		files   = "write a.txt one\nwrite b.txt two\n"
		folder  = "folder lists\nwrite lists/a.txt one\nwrite lists/README.md x\n"
		ut1     = "folder ut1/ads\nwrite ut1/ads/domains one\nfolder ut1/vpn\nwrite ut1/vpn/domains two\n"
		release = "folder v1\nwrite v1/a.txt one\nfolder v2\nwrite v2/a.txt two\nlink current v1\nlink a.txt current/a.txt\n"
		away    = "folder far\nwrite far/a.txt one\nwrite far/b.txt two\nlink a.txt far/a.txt\n"
	)
	for _, c := range []struct {
		name, setup, source string
		do                  string
		want                int
	}{
		{"nothing", files, "a.txt", "", 0},
		{"written in place", files, "a.txt", "write a.txt more", 1},
		{"appended to", files, "a.txt", "append a.txt more", 1},
		{"written in many steps", files, "a.txt", strings.Repeat("append a.txt more\n", 100), 1},
		{"written in place, size and time as before", files, "a.txt", "same a.txt", 1},
		{"replaced", files, "a.txt", "write a.new more\nmove a.new a.txt", 1},
		{"replaced as editors do", files, "a.txt", "write .a.txt.swp x\nmove a.txt a.txt~\nwrite a.txt more\nremove a.txt~\nremove .a.txt.swp", 1},
		{"replaced and then written", files, "a.txt", "write a.new more\nmove a.new a.txt\nwrite a.txt again", 1},
		{"removed", files, "a.txt", "remove a.txt", 1},
		{"removed and made again", files, "a.txt", "remove a.txt\nwrite a.txt one", 1},
		{"time changed", files, "a.txt", "touch a.txt", 1},
		{"made", "", "a.txt", "write a.txt one", 1},
		{"read", files, "a.txt", "read a.txt", 0},
		{"another file", files, "a.txt", "write b.txt more\nremove b.txt\nwrite c.txt x", 0},
		{"swap file beside", files, "a.txt", "write .a.txt.swp x\nwrite a.txt~ x\nwrite 4913 x\nremove 4913", 0},
		{"state folder beside", files, "a.txt", "folder weir-data/lists/copies/1\nwrite weir-data/lists/names.new1 x\nwrite weir-data/lists/copies/1/2.list x", 0},

		{"folder: file written", folder, "lists", "write lists/a.txt more", 1},
		{"folder: file more", folder, "lists", "write lists/b.txt one", 1},
		{"folder: file less", folder, "lists", "remove lists/a.txt", 1},
		{"folder: folder more", folder, "lists", "folder lists/below", 1},
		{"folder: no list", folder, "lists", "write lists/.a.txt.swp x\nwrite lists/README.md more\nremove lists/README.md\nwrite lists/LICENSE x", 0},
		{"folder: temporary file", folder, "lists", "write lists/4913 x\nremove lists/4913", 0},
		{"folder: removed", folder, "lists", "remove lists", 1},
		{"folder: removed and made again", folder, "lists", "remove lists\nfolder lists\nwrite lists/a.txt one", 1},
		{"folder: replaced", folder + "folder next\nwrite next/a.txt two\n", "lists", "move lists old\nmove next lists", 1},
		{"folder: made with all above it", "", "deep/er/lists", "folder deep/er/lists\nwrite deep/er/lists/a.txt one", 1},
		{"folder: a file in its place", folder, "lists", "remove lists\nwrite lists one", 1},

		{"folder above moved", "folder x/y\nwrite x/y/a.txt one\n", "x/y/a.txt", "move x z", 1},
		{"folder above replaced", "folder x/y\nwrite x/y/a.txt one\nfolder z/y\nwrite z/y/a.txt two\n", "x/y/a.txt", "move x old\nmove z x", 1},
		{"folders above made", "", "x/y/a.txt", "folder x/y\nwrite x/y/a.txt one", 1},
		{"folders above made, no file", "", "x/y/a.txt", "folder x/y", 0},
		{"folder above is a file", "write x one\n", "x/y/a.txt", "remove x\nfolder x/y\nwrite x/y/a.txt one", 1},

		{"link: target written", away, "a.txt", "write far/a.txt more", 1},
		{"link: target replaced", away, "a.txt", "write far/new more\nmove far/new far/a.txt", 1},
		{"link: beside the target", away, "a.txt", "write far/b.txt more", 0},
		{"link: points elsewhere", away, "a.txt", "link new far/b.txt\nmove new a.txt", 1},
		{"link: broken", away, "a.txt", "remove far", 1},
		{"link: replaced by a file", away, "a.txt", "write new one\nmove new a.txt", 1},
		{"link: comes to hold", "link a.txt far/a.txt\n", "a.txt", "folder far\nwrite far/a.txt one", 1},
		{"link: around", "link a.txt b.txt\nlink b.txt a.txt\n", "a.txt", "remove b.txt\nwrite b.txt one", 1},
		{"link: out of its folder", "folder x\nwrite b.txt one\nlink x/a.txt ../b.txt\n", "x/a.txt", "write b.txt more", 1},
		{"link above: points elsewhere", release, "a.txt", "link new v2\nmove new current", 1},
		{"link above: file written", release, "a.txt", "write v1/a.txt more", 1},
		{"link above: beside", release, "a.txt", "write v2/a.txt more", 0},
		{"folder of links", away + "folder lists\nlink lists/a.txt ../far/a.txt\n", "lists", "write far/a.txt more", 1},

		{"glob: file written", files, "*.txt", "write b.txt more", 1},
		{"glob: file more", files, "*.txt", "write c.txt more", 1},
		{"glob: file moved in", files + "write c.new more\n", "*.txt", "move c.new c.txt", 1},
		{"glob: file less", files, "*.txt", "remove a.txt", 1},
		{"glob: no match", files, "*.txt", "write c.list x\nwrite .c.txt x\nwrite README.txt x", 0},
		{"glob: nothing yet", "", "lists/*/*.txt", "folder lists/x\nwrite lists/x/a.txt one", 1},
		{"glob: folder without a match", "folder lists\n", "lists/*/*.txt", "folder lists/x\nwrite lists/x/a.list one", 0},
		{"glob: folder more", ut1, "ut1/*", "folder ut1/games\nwrite ut1/games/domains one", 1},
		{"glob: folder less", ut1, "ut1/*", "remove ut1/vpn", 1},
		{"glob: file in a folder", ut1, "ut1/*", "write ut1/vpn/domains more", 1},
		{"glob: usage comes", ut1, "ut1/*", "write ut1/vpn/usage black", 1},
		{"glob: about the collection", ut1, "ut1/*", "write ut1/global_usage x\nwrite ut1/README x", 0},
		{"glob: folder made again", ut1, "ut1/*", "remove ut1/vpn\nfolder ut1/vpn\nwrite ut1/vpn/domains two", 1},
		{"glob letters in a name", "folder a[1]\nwrite a[1]/b.txt one\n", "a[1]/b.txt", "write a[1]/b.txt more", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaks(t)
			w := watchDir(t, c.setup, c.source)
			w.do(c.do)
			if got := w.tells(); got != c.want {
				t.Fatalf("told %d times, want %d", got, c.want)
			}
			if strings.Contains(c.source, "*") || c.want == 0 {
				return
			}
			// It goes on.
			w.do("remove " + c.source + "\nfolder " + filepath.Dir(c.source) + "\nwrite " + c.source + " at the end")
			if got := w.tells(); got != 1 {
				t.Errorf("then made anew: told %d times, want 1", got)
			}
		})
	}
}

// TestWatchWaits asserts that a change is told when it was quiet for long enough, and in the end without quiet.
func TestWatchWaits(t *testing.T) {
	leaks(t)
	w := watchDir(t, "write a.txt one", "a.txt")
	w.do("append a.txt 1")
	w.settle()
	a := receive(t, w.arms, "a timer")
	if a.wait != watchQuiet {
		t.Fatalf("the first timer is %v", a.wait)
	}
	begun := w.time()
	for i := 0; ; i++ {
		w.advance(watchQuiet - 100*time.Millisecond)
		w.do("append a.txt " + strconv.Itoa(i))
		w.settle()
		if w.time().Sub(begun) >= watchPatience {
			break
		}
		if i%2 == 1 { // a timer that is late finds that it was too early
			a.fire <- w.time()
			a = receive(t, w.arms, "another timer")
			if left := begun.Add(watchPatience).Sub(w.time()); a.wait > watchQuiet || a.wait > left {
				t.Fatalf("after %v a timer of %v", w.time().Sub(begun), a.wait)
			}
		}
		if len(w.told) > 0 {
			t.Fatalf("told after %v", w.time().Sub(begun))
		}
	}
	a.fire <- w.time()
	receive(t, w.told, "the change")
	if n := w.tells(); n != 0 {
		t.Errorf("told again %d times", n)
	}
}

// TestWatchSet asserts what Set remembers: what is new, as it is; what was watched, as it was.
func TestWatchSet(t *testing.T) {
	leaks(t)
	w := newWatched(t)
	w.do("write a.txt one\nwrite b.txt two\nwrite c.txt three")
	w.set("a.txt", "b.txt")
	w.do("write a.txt more")
	w.set("a.txt", "b.txt")
	w.start()
	if n := w.tells(); n != 1 {
		t.Errorf("a change between Set and Run: told %d times, want 1", n)
	}
	w.do("write c.txt more")
	w.settle()
	w.set("b.txt", "c.txt")
	w.saw("looked at list files")
	if n := w.tells(); n != 0 {
		t.Errorf("a change before Set: told %d times, want 0", n)
	}
	w.do("write a.txt again")
	if n := w.tells(); n != 0 {
		t.Errorf("a change of what is not watched any more: told %d times, want 0", n)
	}
	w.do("write c.txt again")
	if n := w.tells(); n != 1 {
		t.Errorf("a change of what is watched now: told %d times, want 1", n)
	}
}

// TestWatchFolders asserts that the folders of what is watched are watched, and no others, and one that comes back too.
func TestWatchFolders(t *testing.T) {
	leaks(t)
	w := watchDir(t, "folder lists\nwrite lists/a.txt one\nwrite b.txt two", "lists", "b.txt")
	w.do("move lists away\nmove away lists")
	if n := w.tells(); n != 0 {
		t.Errorf("a folder that went and came back: told %d times, want 0", n)
	}
	w.do("same lists/a.txt")
	if n := w.tells(); n != 1 {
		t.Errorf("a change in it after that: told %d times, want 1", n)
	}
	count := func() int {
		t.Helper()
		w.set("b.txt")
		_, text, _ := strings.Cut(w.saw("looked at list files"), "watched=")
		text, _, _ = strings.Cut(text, " ")
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n, want := count(), strings.Count(w.dir, "/")+1; n != want { // each of its names, and the root
		t.Errorf("%d folders are watched for a file in %s, want %d", n, w.dir, want)
	}
}

// TestWatchBegins asserts that a change is told that came after a folder was read and before its watch began.
func TestWatchBegins(t *testing.T) {
	leaks(t)
	w := newWatched(t)
	w.do("folder lists\nwrite lists/a.txt one\nwrite b.txt two")
	w.add = func(events *fsnotify.Watcher, folder string) error {
		if folder == filepath.Join(w.dir, "lists") {
			w.do("write lists/c.txt three")
		}
		return events.Add(folder)
	}
	w.set("b.txt")
	w.start()
	w.set("lists")
	w.saw("looked at list files")
	if n := w.tells(); n != 1 {
		t.Errorf("told %d times, want 1", n)
	}
}

// TestWatchWhileTold asserts that what changes while a change is told is told after it.
func TestWatchWhileTold(t *testing.T) {
	leaks(t)
	w := watchDir(t, "write a.txt one", "a.txt")
	w.hold = make(chan struct{})
	w.do("write a.txt two")
	w.settle()
	a := receive(t, w.arms, "a timer")
	w.advance(a.wait)
	a.fire <- w.time()
	receive(t, w.told, "the first change")
	w.do("write a.txt three")
	<-w.hold
	w.hold = nil
	if n := w.tells(); n != 1 {
		t.Errorf("told %d times, want 1", n)
	}
}

// TestWatchOverflow asserts that a change is told of which the event was lost, because nobody read events for too long.
func TestWatchOverflow(t *testing.T) {
	leaks(t)
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	queue, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	switch {
	case runtime.GOOS != "linux":
		t.Skip("knows how to fill inotify's queue alone")
	case err != nil || bad != nil:
		t.Fatalf("length of the queue: %q, %v, %v", text, err, bad)
	case queue > 1_000_000:
		t.Skipf("a queue of %d events takes too long to fill", queue)
	}
	w := watchDir(t, "write a.txt one", "a.txt")
	w.hold = make(chan struct{})
	w.do("write a.txt two")
	w.settle()
	a := receive(t, w.arms, "a timer")
	w.advance(a.wait)
	a.fire <- w.time()
	receive(t, w.told, "the first change")
	w.do("write .x 0\nwrite .y 1")
	for i := range queue + 5000 { // two events of one kind for one file in a row are taken for one
		if err := os.Chmod(filepath.Join(w.dir, []string{".x", ".y"}[i%2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.do("same a.txt") // only an event would tell
	<-w.hold
	w.hold = nil
	w.saw("events of list folders were lost")
	a = receive(t, w.arms, "a timer")
	w.advance(a.wait)
	a.fire <- w.time()
	receive(t, w.told, "the change of which no event came")
	w.do("same a.txt")
	if n := w.tells(); n != 1 {
		t.Errorf("and then %d times, want 1", n)
	}
}

// TestWatchWithoutWatches asserts that changes are found by looking where there is no watch to be had, and that this is said.
func TestWatchWithoutWatches(t *testing.T) {
	for name, deprive := range map[string]func(w *watched){
		"none for folders": func(w *watched) {
			w.add = func(*fsnotify.Watcher, string) error { return syscall.ENOSPC }
		},
		"none at all": func(w *watched) {
			w.open = func() (*fsnotify.Watcher, error) { return nil, syscall.EMFILE }
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaks(t)
			w := newWatched(t)
			deprive(w)
			w.do("folder lists\nwrite lists/a.txt one")
			w.set("lists")
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- w.Run(ctx) }()
			w.saw("list folders cannot be watched; looking at list files from time to time every=30s")
			look := func() {
				t.Helper()
				a := receive(t, w.arms, "the next look")
				if a.wait != watchLook {
					t.Fatalf("the next look is after %v", a.wait)
				}
				w.advance(a.wait)
				a.fire <- w.time()
				w.saw("looked at list files")
			}
			w.looked()
			look() // nothing happened
			w.do("write lists/b.txt two")
			look() // finds the change, and waits for its end
			a, b := receive(t, w.arms, "a timer"), receive(t, w.arms, "a timer")
			if a.wait == watchLook {
				a, b = b, a
			}
			if a.wait != watchQuiet || b.wait != watchLook {
				t.Fatalf("timers %v and %v", a.wait, b.wait)
			}
			w.do("append lists/b.txt more") // it goes on
			w.advance(a.wait)
			a.fire <- w.time()
			w.saw("looked at list files")
			a = receive(t, w.arms, "a timer")
			if len(w.told) > 0 {
				t.Error("told while it was written")
			}
			w.advance(a.wait)
			a.fire <- w.time()
			receive(t, w.told, "the change")
			if name == "none at all" {
				cancel()
			} else {
				w.add = (*fsnotify.Watcher).Add // Run uses it when the timer fires
				w.advance(b.wait)
				b.fire <- w.time()
				w.saw("list folders are watched again")
				w.do("write lists/b.txt end")
				if n := w.tells(); n != 1 {
					t.Errorf("with watches again: told %d times, want 1", n)
				}
				cancel()
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWatchMissesNothing makes random changes and asserts that whenever the loader would now read something else, that
// is told.
func TestWatchMissesNothing(t *testing.T) {
	sources := []string{"a/x.txt", "b", "*/y.txt", "c", "a/b/z.txt"}
	rapid.Check(t, func(rt *rapid.T) {
		w := watchDir(t, "", sources...)
		defer w.stop()
		names := rapid.SampledFrom([]string{"a", "b", "c", "a/x.txt", "a/y.txt", "b/x.txt", "b/y.txt", "b/.h", "b/README", "a/b", "a/b/z.txt", "c/x.txt", "d"})
		before := readNaive(w.dir, sources)
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 4).Draw(rt, "changes") {
				verb := rapid.SampledFrom([]string{"write", "write", "folder", "folder", "move", "remove", "link", "append"}).Draw(rt, "verb")
				path, args := names.Draw(rt, "path"), []string{names.Draw(rt, "other")}
				if verb == "link" {
					args[0] = filepath.Join(w.dir, args[0])
				}
				_ = w.change(verb, filepath.Join(w.dir, path), args) // what cannot be done is not done
			}
			told := w.tells()
			now := readNaive(w.dir, sources)
			if now != before && told == 0 {
				rt.Fatalf("not told:\n%s\nwas\n%s", now, before)
			}
			before = now
		}
	})
}

// TestListNames asserts that the watcher and the loader agree on which files of a folder are lists.
func TestListNames(t *testing.T) {
	dir := t.TempDir()
	all := []string{"a.txt", ".hidden", "README", "README.md", "readme", "LICENSE", "LICENSE.txt", "global_usage", "a.txt~", "4913", "#a#"}
	for _, name := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("one.example\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lists, err := blocklist.Load(t.Context(), blocklist.LoadConfig{
		Categories: []blocklist.CategoryConfig{{Name: "c", Sources: blocklist.Sources(dir)}}, Dir: "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		read := slices.ContainsFunc(lists.All(), func(l *blocklist.List) bool { return filepath.Base(l.Name) == name })
		if read != isListName(name) {
			t.Errorf("%q: read %v, watched %v", name, read, isListName(name))
		}
	}
}
