//go:build !linux

package integration

import "github.com/rogpeppe/go-internal/testscript"

func cmdFileLimit(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("only Linux can limit the files of a running process")
}

func cmdDescriptors(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("only Linux can limit the files of a running process")
}
