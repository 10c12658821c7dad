package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func policyCommand(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Test what policies decide",
	}
	c.AddCommand(policyTestCommand(g))
	return c
}

func policyTestCommand(g *global) *cobra.Command {
	var asJSON, verbose bool
	c := &cobra.Command{
		Use:   "test [FILE...]",
		Short: "Hold what the policies decide against files of tests",
		Long: "Hold what the policies of the configuration decide against tests: all of\n" +
			"config.test.toml and config.test/*.toml beside config.toml, or of each FILE.\n" +
			"Files are read, and nobody is asked; a running server does not notice.\n\n" +
			"A test is a table [[test]] in TOML. It says what is asked:\n\n" +
			"  name       the name; it must be written\n" +
			"  type       default \"A\"\n" +
			"  client     address of who asks, default \"127.0.0.1\"\n" +
			"  mac        its hardware address, as a forwarder would tell it\n" +
			"  host       its name, as if a lease gave it to the address\n" +
			"  at         date and time, of this machine's zone if it has none; default now\n" +
			"  aliases    names that the answer leads to\n" +
			"  addresses  addresses in the answer\n\n" +
			"and what is to be decided; what is not written may be anything:\n\n" +
			"  verdict    \"allow\" or \"block\"; it must be written\n" +
			"  policy     the policy that applies\n" +
			"  rule       what decides: the number of a rule, \"default\", \"rebinding\",\n" +
			"             \"canary\", \"observe\" (the policy's mode), \"access\" or \"zone\"\n" +
			"  category   by which the rule decides; where none does, the one observed\n" +
			"  observed   \"block\" if it would have been blocked but for observing, or \"none\"\n" +
			"  answer     as `weir explain` shows it: \"NXDOMAIN\", \"0.0.0.0\"; of a search\n" +
			"             engine, the host that safe search puts in its place\n" +
			"  note       shown where the test fails\n\n" +
			"Exceptions and leases do not count: tests are about the configuration. A client\n" +
			"that [access] does not allow is blocked by \"access\", with the answer \"REFUSED\".\n" +
			"A name that a local zone answers is allowed by \"zone\" unless a rule decides.\n\n" +
			"Exit code 0 if all passed, 1 if not, 3 if a file or the configuration is wrong.\n" +
			"`weir check` runs the tests beside the configuration too.",
		RunE: func(cmd *cobra.Command, args []string) error {
			results, err := testPolicies(cmd, g, args, asJSON && verbose)
			if err != nil {
				return err
			}
			switch out := cmd.OutOrStdout(); {
			case asJSON:
				err = json.NewEncoder(out).Encode(results)
			case len(results) > 0:
				err = printTests(out, results, g.palette(out), verbose)
			}
			if err == nil && countFailed(results) > 0 {
				return &exitError{exitFailure, nil}
			}
			return err
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list what passed too")
	jsonFlag(c, &asJSON)
	return c
}

// testPolicies runs the tests in files, or without any those beside the configuration. With all, those that passed are
// explained too.
func testPolicies(cmd *cobra.Command, g *global, files []string, all bool) ([]testResult, error) {
	const outcome = "nothing was tested"
	talk := cmd.ErrOrStderr()
	cfg, err := loadConfig(g.configPath(), talk, outcome)
	if err != nil {
		return nil, err
	}
	named := len(files) > 0
	if !named {
		if files, err = testFiles(cfg.File); err != nil {
			return nil, err
		}
		if len(files) == 0 {
			fmt.Fprintf(talk, "no tests: there is neither %s.toml nor %[1]s/*.toml; see `weir policy test --help`\n", shown(testBase(cfg.File)))
			return []testResult{}, nil
		}
	}
	tests, err := loadTests(files, cfg)
	switch err = toldTests(err, talk, outcome); {
	case named && errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; without FILE, %s.toml and %[2]s/*.toml are read", err, testBase(cfg.File))
	case err != nil:
		return nil, err
	}
	b, err := build(cmd.Context(), cfg, site{self: cfg.Server.Listen, logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, told(err, talk, outcome)
	}
	defer b.close()
	tellLists(talk, b)
	return b.runTests(tests, time.Now(), all)
}

// toldTests tells the problems of files of tests, if err is about them, and returns the error to exit with.
func toldTests(err error, talk io.Writer, outcome string) error {
	var wrong *testError
	if !errors.As(err, &wrong) {
		return err
	}
	fmt.Fprint(talk, wrong.render(outcome))
	return &exitError{exitConfig, nil}
}

// printTests prints each test that failed, with its explanation, and how many there are; with verbose, what passed too.
func printTests(out io.Writer, results []testResult, p palette, verbose bool) error {
	for i := range results {
		r := &results[i]
		if r.Passed {
			if verbose {
				fmt.Fprintf(out, "%s  %s:%d  %s\n", p.verdict("passed"), shown(r.File), r.Line, shown(r.question()))
			}
			continue
		}
		var wanted, got []string
		for _, d := range r.differing() {
			if d.got == "" {
				d.got = "none"
			}
			wanted, got = append(wanted, d.what+" "+d.wanted), append(got, d.what+" "+d.got)
		}
		fmt.Fprintf(out, "%s  %s:%d  %s: wanted %s; got %s\n", p.verdict("failed"), shown(r.File), r.Line, shown(r.question()),
			shown(strings.Join(wanted, ", ")), shown(strings.Join(got, ", ")))
		if r.Note != "" {
			fmt.Fprintf(out, "  note: %s\n", shown(r.Note))
		}
		var trace strings.Builder
		if err := printExplanation(&trace, *r.Explanation, p); err != nil {
			return err
		}
		for line := range strings.Lines(trace.String()) {
			fmt.Fprintf(out, "  %s", line)
		}
	}
	_, err := fmt.Fprintln(out, countTests(results))
	return err
}

// question is what the test asks, with what else its verdict may depend on.
func (r *testResult) question() string {
	text := fmt.Sprintf("%s %s for %s", r.Name, r.Type, r.Client)
	if r.MAC != "" {
		text += " with " + r.MAC
	}
	if r.Host != "" {
		text += ", host " + r.Host
	}
	if !r.At.IsZero() {
		text += ", " + r.At.Format("Mon 2006-01-02 15:04 MST")
	}
	if to := append(append([]string{}, r.Aliases...), r.Addresses...); len(to) > 0 {
		text += ", to " + strings.Join(to, " ")
	}
	return text
}

// countTests says what came of all: "12 tests: 11 passed, 1 failed".
func countTests(results []testResult) string {
	failed := countFailed(results)
	text := fmt.Sprintf("%s: %d passed", plural(len(results), "test"), len(results)-failed)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	return text
}
