//go:build realtools

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unitExposure is what systemd-analyze may find at most that the unit lets the server do, of 100.
const unitExposure = "25"

// TestRealUnit holds that systemd understands every line of packaging/weir.service, and that the server is confined.
func TestRealUnit(t *testing.T) {
	needTools(t)
	text, err := os.ReadFile("../packaging/weir.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "weir.service")
	here := strings.ReplaceAll(string(text), "/usr/local/bin/weir", binary) // it wants the programs to be there
	if err := os.WriteFile(unit, []byte(here), 0o644); err != nil {
		t.Fatal(err)
	}
	analyze := func(args ...string) ([]byte, error) {
		return exec.Command(tool(t, "systemd-analyze"), args...).CombinedOutput()
	}
	if out, err := analyze("verify", "--man=no", unit); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := analyze("security", "--offline=true", "--no-pager", "--threshold="+unitExposure, unit); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
	wrong := unit[:len(unit)-len(".service")] + "-wrong.service"
	if err := os.WriteFile(wrong, []byte(strings.Replace(here, "StateDirectory=", "StateFolder=", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _ := analyze("verify", "--man=no", wrong); !strings.Contains(string(out), "StateFolder") {
		t.Errorf("a key that does not exist is not found: %s", out)
	}
}
