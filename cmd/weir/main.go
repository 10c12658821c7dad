// Weir is a DNS resolver that decides, for every name a network asks for,
// whether the question may leave, and keeps a record of each with the reason.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and a machine may have none; its own come first

	"github.com/spf13/cobra"

	"weir/blocklist"
)

// Exit codes.
const (
	exitFailure   = 1
	exitUsage     = 2
	exitConfig    = 3
	exitBusy      = 4 // cannot bind or open
	exitNoServer  = 5
	exitIsBlocked = 10 // explain --exit-code
	exitFound     = 10 // audit hunt
)

// exitError is an error with an exit code of its own. With a nil err the code
// is all there is to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program; it returns the exit code.
func run(args []string, out, talk io.Writer) int {
	ctx := context.Background()
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(talk)
	err := root.ExecuteContext(ctx)
	var e *exitError
	var c *configError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &c): // told where it was found
		return exitConfig
	case errors.As(err, &e):
		if e.err != nil {
			fmt.Fprintf(talk, "error: %s\n", shownLines(e.err.Error()))
		}
		return e.code
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.EPIPE):
		return exitFailure
	}
	fmt.Fprintf(talk, "error: %s\n", shownLines(err.Error()))
	return exitFailure
}

func rootCommand() *cobra.Command {
	g := &global{}
	root := &cobra.Command{
		Use:   "weir",
		Short: "A DNS resolver that decides what may be looked up, and keeps a record of all of it",
		Long: "Weir answers DNS queries by policy: names in blocked categories get a sinkhole\n" +
			"answer, the rest is answered from local zones, from memory, or by upstream\n" +
			"servers. Every query is kept in an audit store with the reason for its verdict.",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch g.color {
			case "auto", "always", "never":
				return nil
			}
			return &exitError{exitUsage, fmt.Errorf("--color %q: write auto, always or never", g.color)}
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{exitUsage, fmt.Errorf("%w; see `%s --help`", flagError(err), cmd.CommandPath())}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&g.config, "config", "", "configuration `FILE` (default $WEIR_CONFIG, ./config.toml, /etc/weir/config.toml)")
	flags.StringVar(&g.socket, "socket", "", "admin socket `FILE` of the server (default: as configured)")
	flags.StringVar(&g.color, "color", "auto", "`WHEN` to colour: auto, always or never")
	verbs := []*cobra.Command{
		serveCommand(g), checkCommand(g), explainCommand(g), listsCommand(g), statusCommand(g), metricsCommand(g), reloadCommand(g),
		exceptionCommand(g), policyCommand(g), cacheCommand(g), auditCommand(g), versionCommand(),
	}
	root.AddCommand(verbs...)
	root.InitDefaultCompletionCmd()
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments of c, and of all below it, exit as usage
// errors. A verb that only holds others shows its help when it stands alone.
func usageErrors(c *cobra.Command) {
	holds := !c.Runnable()
	if holds {
		c.Args, c.SuggestionsMinimumDistance = isVerb, 2
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				if !holds && cmd.ValidArgs == nil { // their number is wrong
					err = fmt.Errorf("write `%s`, not with %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"), plural(len(args), "argument"))
				}
				return &exitError{exitUsage, fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// isVerb takes no arguments: what looks like one is a verb that cmd does not have.
func isVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	near := ""
	if known := cmd.SuggestionsFor(args[0]); len(known) > 0 {
		near = fmt.Sprintf("; is %q meant?", known[0])
	}
	return fmt.Errorf("unknown verb %q%s", args[0], near)
}

// interruptible is a context that ends with ^C, for verbs that stream.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

// global holds the flags that every verb has.
type global struct {
	config, socket, color string
	store                 string // in place of the server's, for the audit verbs
}

// configPath is the configuration file to read.
func (g *global) configPath() string {
	if g.config != "" {
		return g.config
	}
	if env := os.Getenv("WEIR_CONFIG"); env != "" {
		return env
	}
	const here, system = "config.toml", "/etc/weir/config.toml"
	if _, err := os.Stat(here); err != nil {
		if _, err := os.Stat(system); err == nil {
			return system
		}
	}
	return here
}

// load reads the configuration for a verb that only needs to know where things
// are.
func (g *global) load(talk io.Writer) (*Config, error) {
	return loadConfig(g.configPath(), talk, "")
}

// loadConfig reads the configuration and tells every problem in it; outcome
// ends that telling. The error is a *configError or says why the file could not
// be read.
func loadConfig(path string, talk io.Writer, outcome string) (*Config, error) {
	cfg, problems, err := Load(path)
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	if outcome != "" || cfg == nil {
		fmt.Fprint(talk, renderProblems(problems, cmp.Or(outcome, "nothing was done; --socket FILE reaches a running server without it")))
	}
	if cfg == nil {
		return nil, &configError{problems}
	}
	return cfg, nil
}

func blocklistName(text string) ([]byte, error) { return blocklist.AppendWireName(nil, text) }

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
