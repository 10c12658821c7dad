//go:build realtools && machine

package integration

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// This file and machine_*_test.go run weir in a virtual machine with a kernel of Debian,
// for what takes a kernel that may be broken on purpose: one whose disks fail, whose power is
// cut, with quotas, netem and as many descriptors as one likes. A test starts the machine and runs
// there once more, as root, with all the suite's helpers. No right is needed outside, and no
// hardware that can do so: the processor is emulated, and slow.
//
//	apt-get install qemu-system-x86 kmod dmsetup e2fsprogs iproute2 nsd
//	go test -tags realtools,machine -count=1 -v -timeout 60m -run TestMachine ./integration
//
// The kernel is fetched by apt-get into the user's cache folder, once; WEIR_KERNEL names a folder
// in which a package linux-image-*-amd64 is unpacked instead.

// inside says in the environment that a test runs in the machine.
const inside = "WEIR_TEST_MACHINE"

// machinePatience bounds one machine.
const machinePatience = 20 * time.Minute

// inMachine runs the test once more in a virtual machine, where it returns true.
func inMachine(t *testing.T, options ...string) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	m := boot(t, append([]string{"-append", kernelLine + " run=^" + t.Name() + "$", "-icount", ownClock}, options...)...)
	passed := false
	m.until(t, func(line string) bool {
		if _, said, ok := strings.Cut(line, "_test.go:"); ok { // a figure
			_, said, _ = strings.Cut(said, ": ")
			t.Log(strings.TrimSpace(said))
		}
		passed = passed || strings.HasPrefix(line, "--- PASS: "+t.Name())
		return line == endsWell
	})
	if !passed {
		t.Fatalf("the test did not run there; the machine said:\n%s", &m.said)
	}
	return false
}

// ownClock has the machine's clock go by what it has done, and when it waits, to what it waits for: so what
// else runs outside makes it no slower in its own time, and no wait takes any.
const ownClock = "shift=3,sleep=off"

const (
	kernelLine = "console=ttyS0 panic=-1 quiet loglevel=3 random.trust_cpu=on"
	endsWell   = "machine: ended with 0"
)

// A console is a machine that runs, with what it prints.
type console struct{ *child }

// boot starts a machine, with options of qemu beside those that it needs.
func boot(t *testing.T, options ...string) *console {
	t.Helper()
	kernel, image := machineParts(t)
	args := append([]string{
		"-accel", "tcg", "-cpu", "max", "-m", "1024", "-nodefaults", "-no-reboot", "-display", "none",
		"-serial", "file:/dev/stderr", "-kernel", kernel, "-initrd", image,
	}, options...)
	return &console{start(t, exec.Command(machineTool(t, "qemu-system-x86_64"), args...))}
}

// until reads the console until a line is the one.
func (m *console) until(t *testing.T, come func(line string) bool) {
	t.Helper()
	limit := time.NewTimer(machinePatience)
	defer limit.Stop()
	for {
		select {
		case line, ok := <-m.lines:
			if !ok {
				t.Fatalf("the machine ended; it said:\n%s", &m.said)
			}
			line = strings.TrimRight(line, "\r")
			fmt.Fprintln(&m.said, line)
			if come(line) {
				return
			}
			if strings.HasPrefix(line, "machine: ") {
				t.Fatalf("the machine said:\n%s", &m.said)
			}
		case <-limit.C:
			t.Fatalf("the machine takes too long; it said:\n%s", &m.said)
		}
	}
}

// machineTools are the programs of the suite, and the packages that bring them. Those from kmod on are
// there in the machine too.
var machineTools = [][2]string{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"apt-get", "apt"},
	{"apt-cache", "apt"},
	{"dpkg-deb", "dpkg"},
	{"depmod", "kmod"},
	{"modprobe", "kmod"},
	{"insmod", "kmod"},
	{"sh", "dash"},
	{"mount", "mount"},
	{"truncate", "coreutils"},
	{"mkdir", "coreutils"},
	{"blockdev", "util-linux"},
	{"losetup", "mount"},
	{"setpriv", "util-linux"},
	{"mkfs.ext4", "e2fsprogs"},
	{"e2fsck", "e2fsprogs"},
	{"dmsetup", "dmsetup"},
	{"ip", "iproute2"},
	{"tc", "iproute2"},
	{"nsd", "nsd"},
}

const insideFrom = "insmod"

func machineTool(t *testing.T, name string) string {
	t.Helper()
	for _, p := range machineTools {
		if p[0] != name {
			continue
		}
		for _, folder := range []string{"", "/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
				return path
			}
		}
		t.Fatalf("this suite needs %s and does not find it: apt-get install %s", name, p[1])
	}
	t.Fatalf("%s is not a tool of this suite", name)
	return ""
}

// machineModules are the parts of the kernel that it is to have.
var machineModules = []string{"virtio_pci", "virtio_blk", "virtio_net", "loop", "dm-mod", "dm-flakey", "dm-delay", "quota_v2", "sch_netem", "veth"}

// machineInit is the machine's first process.
const machineInit = `#!/bin/sh
export PATH=/bin HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8 DM_DISABLE_UDEV=1 ` + apart + `=/bin/weir ` + inside + `=1
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/shm /dev/mapper
mount -t tmpfs none /dev/shm
mount -t tmpfs -o size=90% none /tmp
MODULES
ip link set lo up
ulimit -n 100000
cd /root
/bin/guest.test -test.v -test.timeout 30m -test.run "$run"
echo "machine: ended with $?"
echo b > /proc/sysrq-trigger
`

var machineOnce struct {
	sync.Mutex
	kernel, image string
}

// machineParts returns the files of a kernel and of the folder in memory that it starts with.
func machineParts(t *testing.T) (kernel, image string) {
	t.Helper()
	machineOnce.Lock()
	defer machineOnce.Unlock()
	if machineOnce.image != "" {
		return machineOnce.kernel, machineOnce.image
	}
	root := kernelFolder(t)
	kernels, _ := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*")) // the pattern is well formed
	if len(kernels) != 1 {
		t.Fatalf("%s holds %d kernels, want one", root, len(kernels))
	}
	version := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	dir := filepath.Dir(binary) // of the process, not of the first test
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "static-weir"), "weir/cmd/weir"},
		{"test", "-c", "-tags", "realtools,machine", "-o", filepath.Join(dir, "guest.test"), "weir/integration"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}

	a := &cpio{has: map[string]bool{}}
	for _, folder := range []string{"root", "proc", "sys", "dev", "tmp", "mnt", "etc"} {
		a.folder(folder)
	}
	a.program(t, "bin/weir", filepath.Join(dir, "static-weir"))
	a.program(t, "bin/guest.test", filepath.Join(dir, "guest.test"))
	in := false
	for _, p := range machineTools {
		if in = in || p[0] == insideFrom; in {
			a.program(t, "bin/"+p[0], machineTool(t, p[0]))
		}
	}
	must(t, dir, machineTool(t, "depmod"), "-b", root, version)
	var insmods strings.Builder
	for _, name := range machineModules {
		for line := range strings.Lines(must(t, dir, machineTool(t, "modprobe"), "-d", root, "-S", version, "--show-depends", name)) {
			path, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
			if !ok { // it is built in
				continue
			}
			path, _, _ = strings.Cut(path, " ")
			to := "modules/" + filepath.Base(path)
			if !a.has[to] {
				a.file(t, to, path)
				fmt.Fprintf(&insmods, "insmod /%s || echo 'machine: no module'\n", to)
			}
		}
	}
	a.add("init", 0o100755, []byte(strings.Replace(machineInit, "MODULES\n", insmods.String(), 1)))
	a.add("TRAILER!!!", 0, nil)
	image = filepath.Join(dir, "image")
	if err := os.WriteFile(image, a.b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	machineOnce.kernel, machineOnce.image = kernels[0], image
	return kernels[0], image
}

var kernelPackage = regexp.MustCompile(`Depends: (linux-image-\S+-amd64)`)

// kernelFolder returns a folder with the newest kernel of Debian for virtual machines.
func kernelFolder(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("WEIR_KERNEL"); dir != "" {
		return dir
	}
	const meta = "linux-image-cloud-amd64"
	m := kernelPackage.FindStringSubmatch(must(t, ".", machineTool(t, "apt-cache"), "depends", meta))
	if m == nil {
		t.Fatalf("apt-cache knows no %s: run apt-get update", meta)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "weir-machine", m[1])
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	part := dir + ".part" // a fetch that is broken off leaves no folder
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil {
		t.Fatal(err)
	}
	must(t, part, machineTool(t, "apt-get"), "-q", "download", m[1])
	packages, _ := filepath.Glob(filepath.Join(part, "*.deb")) // the pattern is well formed
	if len(packages) != 1 {
		t.Fatalf("apt-get has fetched %q", packages)
	}
	must(t, part, machineTool(t, "dpkg-deb"), "-x", packages[0], part)
	if err := errors.Join(os.Remove(packages[0]), os.Rename(part, dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A cpio is a folder as the kernel unpacks one into memory ("newc").
type cpio struct {
	b   bytes.Buffer
	has map[string]bool
}

func (a *cpio) add(name string, mode uint32, content []byte) {
	if a.has[name] {
		return
	}
	a.has[name] = true
	number, links := len(a.has), 1
	fmt.Fprintf(&a.b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.b.WriteString(name + "\x00")
	a.pad()
	a.b.Write(content)
	a.pad()
}

func (a *cpio) pad() { a.b.Write(make([]byte, -a.b.Len()&3)) }

// folder adds a folder and those that it is in.
func (a *cpio) folder(name string) {
	if name == "." {
		return
	}
	a.folder(filepath.Dir(name))
	a.add(name, 0o040755, nil)
}

func (a *cpio) file(t *testing.T, name, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a.folder(filepath.Dir(name))
	a.add(name, 0o100755, content)
}

var libraryPath = regexp.MustCompile(`(/\S+) \(0x`)

// program adds a program and the libraries that it is linked with.
func (a *cpio) program(t *testing.T, name, path string) {
	t.Helper()
	a.file(t, name, path)
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if len(libraries) == 0 {
		return
	}
	for _, m := range libraryPath.FindAllStringSubmatch(must(t, ".", "ldd", path), -1) {
		if _, err := os.Stat(m[1]); errors.Is(err, fs.ErrNotExist) {
			continue // the kernel's own
		}
		a.file(t, m[1][1:], m[1])
	}
}
