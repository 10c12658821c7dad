package humbly

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// nice returns the nice value of the calling thread.
func nice(t *testing.T) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	if err != nil {
		t.Fatal(err)
	}
	return 20 - n // as the system call has it
}

// TestDo holds that work is humble, that nobody else becomes so, and that there are as
// many processors as before when all work is done.
func TestDo(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, processors := nice(t), runtime.GOMAXPROCS(0)
	var all sync.WaitGroup
	const each = mostProcessors
	begun, release := make(chan int), make(chan struct{})
	for range each {
		all.Go(func() {
			Do(func() {
				begun <- nice(t)
				<-release
			})
		})
		all.Go(func() { Beside(func() { <-release }) })
	}
	for range each {
		if n := <-begun; n != least {
			t.Errorf("work has nice %d", n)
		}
	}
	if n := runtime.GOMAXPROCS(0); n != processors+mostProcessors {
		t.Errorf("%d processors beside work, %d without", n, processors)
	}
	close(release)
	all.Wait()
	if n := runtime.GOMAXPROCS(0); n != processors {
		t.Errorf("%d processors after work, %d before", n, processors)
	}
	if n := nice(t); n != before {
		t.Errorf("the caller has nice %d, %d before", n, before)
	}
	for range 20 { // whoever comes next does not get a thread that was humble
		done := make(chan int)
		go func() { done <- nice(t) }()
		if n := <-done; n != before {
			t.Fatalf("a goroutine has nice %d", n)
		}
	}
}

// TestBeside holds that work brings one processor along and keeps its caller's thread, and
// that a panic of work is its caller's.
func TestBeside(t *testing.T) {
	before, processors := nice(t), runtime.GOMAXPROCS(0)
	func() {
		defer func() {
			if v := recover(); v != os.ErrClosed {
				t.Errorf("%v", v)
			}
		}()
		Beside(func() {
			if n, m := runtime.GOMAXPROCS(0), nice(t); n != processors+1 || m != before {
				t.Errorf("%d processors, %d without; nice %d, %d before", n, processors, m, before)
			}
			panic(os.ErrClosed)
		})
	}()
	if n := runtime.GOMAXPROCS(0); n != processors {
		t.Errorf("%d processors after a panic, %d before", n, processors)
	}
}

// TestBecome holds that every thread of a process becomes humble.
func TestBecome(t *testing.T) {
	if !alone(t) {
		return
	}
	Become()
	for tid, a := range threads(t) {
		if a.Nice != least {
			t.Errorf("thread %d has nice %d", tid, a.Nice)
		}
	}
}

// TestPrompt holds that every thread of a process has what this one gets when it asks, and nothing else new.
func TestPrompt(t *testing.T) {
	if !alone(t) {
		return
	}
	runtime.LockOSThread()
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := *before
	want.Runtime = prompt
	if err := unix.SchedSetAttr(0, &want, 0); err != nil {
		t.Fatal(err)
	}
	got, err := unix.SchedGetAttr(0, 0) // a kernel that knows nothing of it does not say so
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedSetAttr(0, before, 0); err != nil {
		t.Fatal(err)
	}
	Prompt()
	for tid, a := range threads(t) {
		if *a != *got {
			t.Errorf("thread %d: %+v, want %+v", tid, *a, *got)
		}
	}
}

// alone says that the test has a process of its own. Else it runs it in one.
func alone(t *testing.T) bool {
	const child = "WEIR_TEST_HUMBLE"
	if os.Getenv(child) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// threads returns what the kernel says of each thread of the process.
func threads(t *testing.T) map[int]*unix.SchedAttr {
	t.Helper()
	names, err := os.ReadDir("/proc/self/task")
	if err != nil || len(names) < 2 {
		t.Fatal(names, err)
	}
	all := make(map[int]*unix.SchedAttr)
	for _, n := range names {
		tid, err := strconv.Atoi(n.Name())
		if err != nil {
			t.Fatal(err)
		}
		if a, err := unix.SchedGetAttr(tid, 0); err == nil { // else it has ended
			all[tid] = a
		}
	}
	return all
}
