//go:build realtools

package integration

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// varying is what differs from one run of a command to the next.
var varying = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?`), "TIME"},
	{regexp.MustCompile(`, id: \d+`), ", id: N"},
	{regexp.MustCompile(`\b[0-9a-f]{16,64}\b`), "DIGEST"},
	{regexp.MustCompile(`weir \d+\.\d+\.\d+\S*`), "weir VERSION"},
	{regexp.MustCompile(`udp://\S+`), "udp://SERVER"},
	{regexp.MustCompile(`records in \d+ segments?`), "records in N segments"},
	{regexp.MustCompile(`(NXDOMAIN,15,,,,)\d*(,\d+,)`), "${1}DURATION$2"},
	{regexp.MustCompile(`,\d+,\d+,(\d+,\d+,rd)`), ",PORT,ID,$1"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

func settled(text string) string {
	for _, v := range varying {
		text = v.re.ReplaceAllString(text, v.with)
	}
	return text
}

// TestRealReadme types every command of README's console samples, in order,
// into one folder, and compares what comes out, but for what varies.
func TestRealReadme(t *testing.T) {
	dir := t.TempDir()
	copyProject(t, dir)
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)\n```console\n(.*?)\n```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) == 0 {
		t.Fatal("README has no console samples")
	}
	for _, b := range blocks {
		for _, sample := range strings.Split("\n"+b[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(sample, "\n")
			var got string
			if strings.HasSuffix(command, " serve") {
				got = startServer(t, dir, command)
			} else {
				// Some verbs say by their exit code what they found.
				c := exec.Command("bash", "-c", command)
				c.Dir = dir
				out, _ := c.CombinedOutput()
				got = string(out)
			}
			want, got = strings.TrimSpace(settled(want+"\n")), strings.TrimSpace(settled(got+"\n"))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("$ %s\n(-README +now)\n%s", command, diff)
			}
		}
	}
}

// startServer runs the command until the test ends and returns what it says
// first.
func startServer(t *testing.T, dir, command string) string {
	t.Helper()
	c := exec.Command("bash", "-c", "exec "+command)
	c.Dir = dir
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	t.Cleanup(func() {
		stuck.Stop()
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	})
	var said bytes.Buffer
	in := bufio.NewScanner(pipe)
	for in.Scan() {
		said.WriteString(in.Text() + "\n")
		if strings.Contains(in.Text(), "weir audit search") { // the last line of its greeting
			go func() {
				for in.Scan() { // until it ends
				}
			}()
			return said.String()
		}
	}
	t.Fatalf("%s did not start:\n%s", command, &said)
	return ""
}

// copyProject copies what is needed to build and run.
func copyProject(t *testing.T, dir string) {
	t.Helper()
	root := os.DirFS("..")
	for _, name := range []string{"audit", "blocklist", "cmd", "resolver", "lists"} {
		sub, err := fs.Sub(root, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, name), sub); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "config.toml"} {
		data, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
