package hosts

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Lease files in one line, as world.do takes them; all times are after noon.
const (
	laptop = "1795701600 02:00:5e:10:00:01 10.0.0.1 laptop *|" // 14:00
	phone  = "1795698000 02:00:5e:10:00:02 10.0.0.2 phone *|"  // 13:00
	kea    = "address,hwaddr,valid_lifetime,expire,hostname,state|"
)

const (
	laptopIs = "10.0.0.1 1 laptop 2h\n"
	phoneIs  = "10.0.0.2 2 phone 1h\n"
)

// TestFilesChange asserts what becomes of the picture when a file changes.
func TestFilesChange(t *testing.T) {
	for _, c := range []struct {
		name, file string
		before     string
		was        string
		do         string
		want       string
	}{
		{"written in place", "a", "write a " + laptop, laptopIs, "write a " + laptop + phone, laptopIs + phoneIs},
		{"emptied", "a", "write a " + laptop, laptopIs, "write a", ""},
		{"replaced", "a", "write a " + laptop, laptopIs, "replace a " + phone, phoneIs},
		{"appended to in two steps", "a", "write a " + laptop, laptopIs, "append a " + phone[:20] + "\nappend a " + phone[20:], laptopIs + phoneIs},
		{"moved away and made again", "a", "write a " + laptop, laptopIs, "move a a~\nwrite a " + phone, phoneIs},
		{"comes", "a", "", "", "write a " + laptop, laptopIs},
		{"comes by a move", "a", "write b " + laptop, "", "move b a", laptopIs},
		{"format changes", "a", "write a " + laptop, laptopIs, "replace a lease 10.0.0.2 {|binding state active;|ends epoch 1795698000;|hardware ethernet 02:00:5e:10:00:02;|client-hostname \"phone\";|}|", phoneIs},
		{"link: file written", "a", "folder far\nwrite far/b " + laptop + "\nlink a far/b", laptopIs, "append far/b " + phone, laptopIs + phoneIs},
		{"link: leads elsewhere", "a", "folder far\nwrite far/b " + laptop + "\nwrite far/c " + phone + "\nlink a far/b", laptopIs, "link a far/c", phoneIs},
		{"Kea: row appended", "a", "write a " + kea + "10.0.0.1,02:00:5e:10:00:01,60,1795701600,laptop,0|", laptopIs, "append a 10.0.0.1,02:00:5e:10:00:01,0,1795701600,laptop,0|", ""},
		{"Kea: cleanup found later", "kea:a", "write a " + kea + "10.0.0.1,02:00:5e:10:00:01,60,1795701600,laptop,0|", laptopIs, "write a.2 " + kea + "10.0.0.2,02:00:5e:10:00:02,60,1795698000,phone,0|10.0.0.1,,60,1795701600,old,0|", laptopIs + phoneIs},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.file)
			w.do(c.before)
			w.run()
			w.is(0, c.was)
			w.do(c.do)
			for n := 1; n < 3; n++ { // a step of several may show
				w.await("a change", soon, func() bool { return w.tells >= n })
				if render(w.w.Hosts()) == render(readHosts(t, c.want)) {
					break
				}
			}
			w.is(w.tells, c.want)

			// It goes on.
			n := w.tells
			w.do("replace " + strings.TrimPrefix(c.file, "kea:") + " " + kea + "10.0.0.9,,60,1795698000,last,0|\nremove a.2")
			w.await("the last", soon, func() bool { return w.tells > n && render(w.w.Hosts()) == render(readHosts(t, "10.0.0.9 - last 1h")) })
		})
	}
}

// TestQuietFiles asserts what is no change.
func TestQuietFiles(t *testing.T) {
	w := newWorld(t, "a")
	w.do("write a " + laptop + "\nwrite b " + phone)
	w.run()
	w.do("replace a " + laptop)
	w.sees("changed=false")
	w.do("write b " + laptop)
	w.sees("counts=false")
	later := strings.Replace(laptop, "1795701600", "1795705200", 1)
	w.do("replace a " + later) // renewed
	w.sees("changed=false")
	w.is(0, "10.0.0.1 1 laptop 3h")
	w.looks()
	w.is(0, "10.0.0.1 1 laptop 3h")
}

// TestWaits asserts that events are gathered for a moment, and that pictures have time between them.
func TestWaits(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	w.do("write a " + laptop)
	w.await("a timer", 0, func() bool { return w.count("counts=true") > 0 })
	if w.now != noon || w.tells != 0 {
		t.Fatal("it does not wait")
	}
	w.becomes(1, laptopIs)
	if d := w.now.Sub(noon); d < watchQuiet || d > watchPatience {
		t.Errorf("told after %v", d)
	}
	w.do("append a " + phone)
	w.becomes(2, laptopIs+phoneIs)
	if d := w.now.Sub(noon); d < watchQuiet+watchRest || d > 2*watchPatience+watchRest {
		t.Errorf("told again after %v", d)
	}
}

// TestLeasesEnd asserts that a lease ends by the clock alone, and that a file is not read for it.
func TestLeasesEnd(t *testing.T) {
	w := newWorld(t, "a")
	w.do("write a " + laptop + phone)
	w.run()
	w.is(0, laptopIs+phoneIs)
	w.do("remove a")
	w.sees("is gone")
	for n, c := range []struct {
		at   time.Duration
		want string
	}{{time.Hour, laptopIs}, {2 * time.Hour, ""}} {
		w.await("the end", watchLook, func() bool { return w.tells > n })
		w.is(n+1, c.want)
		if at := noon.Add(c.at); w.now != at {
			t.Errorf("told at %v, not %v", w.now, at)
		}
	}
}

// TestFilesThatCannotBeRead asserts that what was known is kept, and that the reason is said once.
func TestFilesThatCannotBeRead(t *testing.T) {
	for _, c := range []struct{ name, format, do, again, said string }{
		{"gone", "", "remove a", "write b x|\nremove b", "WARN lease file is gone; what it said is kept until it comes back"},
		{"a folder", "", "remove a\nfolder a", "folder a/b", "a is no ordinary file"},
		{"other text", "", "replace a hello|", "append a world|", `is no lease file of dnsmasq, kea or isc: it begins with \"hello\"`},
		{"too large", "", "large a", "append a x", "is larger than 64 MiB"},
		{"no header", "kea:", "replace a 1,2,3|", "append a 1,2,3|", "line 1: \\\"1,2,3\\\" is no header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.format+"a")
			before, is := laptop, laptopIs
			if c.format != "" {
				before = kea + "10.0.0.1,02:00:5e:10:00:01,60,1795701600,laptop,0|"
			}
			w.do("write a " + before)
			w.run()
			w.do(c.do)
			w.sees(strings.ReplaceAll(c.said, `\"`, `"`))
			w.do(c.again)
			w.looks()
			w.looks()
			w.is(0, is)
			if n := w.count("WARN"); n != 1 {
				t.Errorf("said %d times:\n%s", n, strings.Join(w.log, "\n"))
			}
			w.do("remove a\nwrite a " + before)
			w.sees("INFO lease file can be read")
			w.is(0, is)
		})
	}
}

// TestFilesThatComeLater asserts that a server may start after us, and make its folder first.
func TestFilesThatComeLater(t *testing.T) {
	w := newWorld(t, "dhcp/a", "b")
	w.run()
	w.is(0, "")
	if n := w.count("WARN lease file is not there yet"); n != 2 {
		t.Errorf("said %d times:\n%s", n, strings.Join(w.log, "\n"))
	}
	w.do("folder dhcp\nwrite dhcp/a " + laptop)
	w.looks()
	w.becomes(1, laptopIs)
	w.do("append dhcp/a " + phone)
	w.becomes(2, laptopIs+phoneIs)

	// The folder goes and another has its name.
	w.do("remove dhcp")
	w.sees("lease file is gone")
	w.do("folder dhcp\nwrite dhcp/a " + phone)
	w.looks()
	w.becomes(3, phoneIs)
	w.do("write dhcp/a " + laptop)
	w.becomes(4, laptopIs)
	if n := w.count("WARN"); n != 3 {
		t.Errorf("said %d times:\n%s", n, strings.Join(w.log, "\n"))
	}
}

// TestKeaCleanup follows Kea's cleanup step by step: no lease is missing meanwhile.
func TestKeaCleanup(t *testing.T) {
	const one, two, three = "10.0.0.1,02:00:5e:10:00:01,60,1795701600,laptop,0|", "10.0.0.2,02:00:5e:10:00:02,60,1795698000,phone,0|", "10.0.0.3,,60,1795698000,new,0|"
	for _, format := range []string{"", "kea:"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t, format+"a")
			w.do("write a.2 " + kea + two + "\nwrite a " + kea + one)
			w.run()
			w.is(0, laptopIs+phoneIs)
			for _, step := range []string{
				"move a a.1",
				"write a " + kea,
				"write a.output " + kea + one[:12] + "\nappend a.output " + one[12:] + two + "\nmove a.output a.completed",
				"remove a.2\nremove a.1",
				"move a.completed a.2",
			} {
				w.do(step)
				w.sees("hosts are known")
				w.is(0, laptopIs+phoneIs)
			}
			w.do("append a " + three)
			w.becomes(1, laptopIs+phoneIs+"10.0.0.3 - new 1h")
			w.do("write a.completed " + kea + two) // is instead of a.2
			w.becomes(2, phoneIs+"10.0.0.3 - new 1h")
		})
	}
}

// TestProblemsAreSaidOnce asserts that a client cannot fill the log by renewing its lease.
func TestProblemsAreSaidOnce(t *testing.T) {
	w := newWorld(t, "a")
	w.do("write a 0 02:00:5e:10:00:01 10.0.0.1 \x1b[2J *|")
	w.run()
	bad := `WARN lease cannot be used file=` + w.dir + `/a line=1 problem=host name "\x1b[2J": wants`
	if w.count(bad) != 1 {
		t.Fatalf("%q", w.log)
	}
	w.do("append a 0 02:00:5e:10:00:02 10.0.0.2 a? 1|")
	w.sees("lease cannot be used") // another
	w.do("append a " + phone)
	w.becomes(2, "10.0.0.1 1 - -\n"+phoneIs)
	if n := w.count("lease cannot be used"); n != 1+1 {
		t.Errorf("said %d times:\n%s", n, strings.Join(w.log, "\n"))
	}
}

// TestWithoutWatches asserts that files are followed where the system gives no watch.
func TestWithoutWatches(t *testing.T) {
	w := newWorld(t, "a")
	w.w.open = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	w.do("write a " + laptop)
	w.run()
	w.do("write a " + laptop + phone)
	w.looks()
	w.becomes(1, laptopIs+phoneIs)
	w.looks()
	w.looks()
	if n := w.count("WARN folders of lease files cannot be watched"); n != 1 {
		t.Errorf("said %d times:\n%s", n, strings.Join(w.log, "\n"))
	}
}

// TestEventsLost asserts that nothing is taken for known when events were lost.
func TestEventsLost(t *testing.T) {
	w := newWorld(t, "a")
	w.do("write a " + laptop)
	w.run()
	w.w.events.Errors <- fsnotify.ErrEventOverflow
	w.sees("events of lease files were lost")
	w.sees("lease file read")
	w.do("write a " + phone)
	w.becomes(1, phoneIs)
}

// TestRunWithoutLoad asserts that Run makes the first picture itself, and that it may be run again.
func TestRunWithoutLoad(t *testing.T) {
	w := newWorld(t, "a")
	w.do("write a " + laptop)
	w.start()
	w.becomes(1, laptopIs)
	w.stop()
	w.do("append a " + phone)
	w.start()
	defer w.stop()
	w.becomes(2, laptopIs+phoneIs)
	w.do("write a " + phone)
	w.becomes(3, phoneIs)
}

// TestRestiveFile asserts that a file that never rests is read in the end.
func TestRestiveFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(laptop, "|", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer file.Close()
		for {
			select {
			case <-stop:
				return
			default:
				fmt.Fprintln(file, "duid 00:01")
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	f := &leaseFile{File: File{path, ""}, doubt: true}
	for range maxRestive {
		if f.load(slog.New(slog.DiscardHandler)) {
			break
		}
	}
	if f.doubt || render(f.hosts) != render(readHosts(t, laptopIs)) {
		t.Errorf("in doubt: %v; %s", f.doubt, render(f.hosts))
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Config{Files: []File{{"a", ""}, {"", ""}, {"b", "dhcpcd"}, {"./a", "isc"}}})
	want := "lease file 2 has no path\nlease file b: no format \"dhcpcd\"; there are dnsmasq, kea and isc\nlease file ./a is named twice"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
