package blocklist

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitFiles lets no file of the process be longer than n octets, as a full disk would, until the returned function is
// called.
func limitFiles(t *testing.T, n uint64) (lift func()) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	full := limit
	full.Cur = n
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &full))
	lifted := false
	lift = func() {
		if !lifted {
			lifted = true
			must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
		}
	}
	t.Cleanup(lift)
	return lift
}

// On a full disk everything stays as it was, on disk and in memory, and the error says where and what.
func TestFullDisk(t *testing.T) {
	const child = "WEIR_TEST_FULL_DISK"
	if os.Getenv(child) == "" { // a limit is of a process, and this one writes a log of its own
		run := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		run.Env = append(os.Environ(), child+"=1")
		if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	s := openTestStore(t, dir)
	const name = "list"
	big := hostsText(2000)
	fetchInto(t, s, name, "one")
	must(t, s.Settle(name, version("one"), version("one"), "why"))
	before, known := filesBelow(t, dir), s.Kept(name)
	same := func(what string) {
		t.Helper()
		k := s.Kept(name)
		if got := filesBelow(t, dir); !slices.Equal(got, before) || textOf(t, s, k.InForce) != "one" {
			t.Errorf("%s: %q, want %q", what, got, before)
		}
		if k.InForce.Digest != known.InForce.Digest || k.Held == nil || k.Latest.Digest != known.Latest.Digest {
			t.Errorf("%s: %+v", what, k)
		}
	}
	server := httptest.NewServer(text(big))
	defer server.Close()
	f := &Fetcher{Store: s}
	says := []string{"file too large", "make room there", "stays in force", dir}

	for _, room := range []uint64{0, 1, 100, 4096} {
		lift := limitFiles(t, room)
		err := s.Keep(name, version(big), strings.NewReader(big))
		refuses(t, err, says...)
		same("keep")
		_, err = f.Fetch(t.Context(), &SourceConfig{From: server.URL, Name: name})
		refuses(t, err, says...)
		same("fetch")
		if room < 100 { // there is not even room for a state
			refuses(t, s.Settle(name, nil, nil, ""), says...)
			refuses(t, s.Reject(name), says...)
			same("settle")
			d, err := s.draft(name)
			must(t, err)
			_, err = s.arrived(name, d, *version(""), originState{}, storeEpoch) // a draft of nothing fits
			refuses(t, err, says...)
			d.discard()
			same("arrived")
			refuses(t, s.failed(name, "broken", storeEpoch.Add(time.Hour)), says...)
			if k := s.Kept(name); k.Failure != "broken" || !k.Next.Equal(storeEpoch.Add(time.Hour)) {
				t.Errorf("the failure is not even known in memory: %+v", k)
			}
			refuses(t, s.failed("new list", "broken", storeEpoch), says...)
			if k := s.Kept("new list"); k.Failures == 0 {
				t.Errorf("nor of a new list: %+v", k)
			}
			same("failed")
		}
		lift()
	}
	must(t, s.Settle(name, version("one"), nil, ""))
	if k := openTestStore(t, filepath.Dir(s.dir)).Kept(name); k.Held != nil || k.InForce == nil {
		t.Errorf("with room again: %+v", k)
	}
}
