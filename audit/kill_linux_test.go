package audit

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var kills = flag.Int("kills", 12, "how often TestKilledAtAnyInstant kills")

const (
	victimDir     = "WEIR_AUDIT_VICTIM" // in the environment of a process that is there to be killed
	victimRound   = "WEIR_AUDIT_ROUND"
	victimCallers = 4
)

// counters maps a file of two counters for each caller: events that were taken, and
// that were not.
func counters(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(16 * victimCallers); err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, 16*victimCallers, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func counter(m []byte, caller int) *uint64  { return (*uint64)(unsafe.Pointer(&m[16*caller])) }
func refusals(m []byte, caller int) *uint64 { return (*uint64)(unsafe.Pointer(&m[16*caller+8])) }

// victim records without end. What Record has taken is counted in a file that
// outlives it as the slabs should.
func victim(dir, round string) {
	acks, err := counters(filepath.Join(dir, "acks-"+round))
	if err != nil {
		panic(err)
	}
	l, err := Open(Config{Dir: filepath.Join(dir, "audit"), Interval: 10 * time.Millisecond, Block: 40 * time.Millisecond, Slabs: 64, SlabBytes: 32 << 10, OnError: Fail})
	if err != nil {
		panic(err)
	}
	for caller := range victimCallers {
		go func() {
			e := query(0, "192.0.2.7", "x")
			for i := uint64(1); ; i++ {
				e.Name = wire(fmt.Sprintf("%d.caller-%d.round-%s.example", i, caller, round))
				e.Time = time.Now().UnixNano()
				if i%50 == 0 {
					e.Reason = l.Intern(Reason{Policy: fmt.Sprint("policy-", i)})
				}
				for !l.Record(e) { // the disk is behind
					atomic.AddUint64(refusals(acks, caller), 1)
				}
				atomic.StoreUint64(counter(acks, caller), i)
			}
		}()
	}
	panic(l.Run(context.Background()))
}

// TestKilledAtAnyInstant kills a process that records as fast as it can, at
// instants that have nothing to do with what it is doing. Each time the next one
// opens what it left. In the end every event that was taken is there, once, and what
// was not taken is counted.
func TestKilledAtAnyInstant(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	acks := make([][]byte, *kills)
	for round := range *kills {
		path := filepath.Join(dir, fmt.Sprint("acks-", round))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir, fmt.Sprintf("%s=%d", victimRound, round))
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Two of three are killed while they record, one at any time from its start on.
		limit := time.Now().Add(time.Minute)
		for round%3 != 0 && time.Now().Before(limit) {
			if m, err := counters(path); err == nil {
				n := atomic.LoadUint64(counter(m, 0))
				unix.Munmap(m)
				if n > 0 {
					break
				}
			}
		}
		timer := time.NewTimer(time.Duration(r.Int64N(int64(120 * time.Millisecond))))
		<-timer.C
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
			t.Fatalf("round %d: it ended by itself: %v\n%s", round, err, &said)
		}
		var err error
		if acks[round], err = counters(path); err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(acks[round])
	}

	audit := filepath.Join(dir, "audit")
	if _, err := os.Stat(filepath.Join(audit, lockFile)); errors.Is(err, fs.ErrNotExist) {
		t.Fatal("no store was made")
	}
	l, stop := start(t, Config{Dir: audit}) // takes over what the last one left
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := l.Stats().Lost; n != 0 {
		t.Fatalf("%d lost", n)
	}
	reader, err := OpenReader(audit)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	report, err := reader.Verify(context.Background(), Verification{}, nil)
	if err != nil || report.Problems != nil {
		t.Fatalf("%v %q", err, report.Problems)
	}
	got := map[string][]bool{} // by caller and round, and number from 1
	var gaps uint64
	for seen := range reader.each(t) {
		switch {
		case seen.Kind == KindGap.String():
			if gaps += seen.Lost; seen.Lost == 0 {
				t.Errorf("record %d says that events may be missing: %+v", seen.Seq, seen)
			}
		case seen.Kind == KindQuery.String():
			text, of, _ := strings.Cut(seen.Name, ".")
			number, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			if number > len(got[of]) { // two shards are not taken at one time: the next but one may come first
				got[of] = append(got[of], make([]bool, number-len(got[of]))...)
			}
			if got[of][number-1] {
				t.Fatalf("record %d, event %d of %s, was there before", seen.Seq, number, of)
			}
			got[of][number-1] = true
			if seen.Policy == "" && number >= 50 {
				t.Fatalf("record %d, event %d of %s, has lost its reason", seen.Seq, number, of)
			}
		}
	}
	var taken, recorded, refused, busy uint64
	for round := range acks {
		for caller := range victimCallers {
			acked := atomic.LoadUint64(counter(acks[round], caller))
			events := got[fmt.Sprintf("caller-%d.round-%d.example", caller, round)]
			n := uint64(len(events))
			if n < acked || n > acked+1 || slices.Contains(events, false) { // killed between taking it and counting it
				t.Errorf("round %d caller %d: %d were taken, of %d on record", round, caller, acked, n)
			}
			taken, recorded, refused = taken+acked, recorded+n, refused+atomic.LoadUint64(refusals(acks[round], caller))
			if acked > 0 {
				busy++
			}
		}
	}
	if busy == 0 {
		t.Error("no process got as far as to record anything, which shows nothing")
	}
	if gaps < refused || gaps > refused+busy {
		t.Errorf("%d events were not taken, gaps say %d", refused, gaps)
	}
	t.Logf("%d kills, %d events taken and %d on record, %d not taken and %d in gaps, %d segments", *kills, taken, recorded, refused, gaps, report.Segments)
}

// each yields the records, the oldest first.
func (r *Reader) each(t *testing.T) func(yield func(*Record) bool) {
	return func(yield func(*Record) bool) {
		enough := errors.New("enough")
		err := r.Search(context.Background(), Query{Oldest: true}, func(rec *Record) error {
			if !yield(rec) {
				return enough
			}
			return nil
		})
		if err != nil && !errors.Is(err, enough) {
			t.Fatal(err)
		}
	}
}
