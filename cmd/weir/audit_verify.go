package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
)

func verifyCommand(g *global) *cobra.Command {
	var keys, from []string
	var quick, asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that no record was lost, changed or taken out since it was written",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			how := audit.Verification{Quick: quick}
			for _, text := range keys {
				key, err := audit.ParsePublicKey(text)
				if err != nil {
					return &exitError{exitUsage, fmt.Errorf("--key: %w", err)}
				}
				how.Keys = append(how.Keys, key)
			}
			for _, path := range from {
				notes, err := checkpoints(path)
				if err != nil {
					return &exitError{exitUsage, fmt.Errorf("--from: %w", err)}
				}
				how.From = append(how.From, notes...)
			}
			r, err := g.records(cmd)
			if err != nil {
				return err
			}
			defer r.Close()
			ctx, stop := interruptible(cmd)
			defer stop()
			rep, err := r.Verify(ctx, how, nil)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = json.NewEncoder(out).Encode(rep)
			} else {
				err = printReport(out, rep)
			}
			if err == nil && len(rep.Problems) > 0 {
				return &exitError{exitFailure, nil}
			}
			return err
		},
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "take no `KEY` but this for the log's; may be given several times")
	c.Flags().StringArrayVar(&from, "from", nil, "compare with the checkpoints in `FILE`, as a witness has kept them; may be given several times")
	c.Flags().BoolVar(&quick, "quick", false, "prove the segments, without reading the records in them")
	jsonFlag(c, &asJSON)
	return c
}

// checkpoints reads signed notes: one, or several as a witness's file has them.
func checkpoints(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	notes, rest := audit.SplitCheckpoints(append(bytes.TrimRight(text, "\n"), "\n\n"...))
	if len(notes) == 0 || len(rest) > 0 {
		return nil, fmt.Errorf("%s holds something else than signed checkpoints", path)
	}
	return notes, nil
}

func printReport(out io.Writer, r audit.Report) error {
	word := "intact"
	if len(r.Problems) > 0 {
		word = "DAMAGED"
	}
	aside := ""
	if r.Aside > 0 {
		aside = fmt.Sprintf("; %s not in it, set aside as damaged", plural(int(r.Aside), "record"))
	}
	_, err := fmt.Fprintf(out, "%s: %s in %s, sequence %d to %d, %s recorded as lost%s\n",
		word, plural(int(r.Records), "record"), plural(int(r.Segments), "segment"), r.First, r.Last, plural(int(r.Lost), "event"), aside)
	if r.Open > 0 {
		fmt.Fprintf(out, "%d of them not sealed yet\n", r.Open)
	}
	if r.Digest != "" {
		fmt.Fprintf(out, "last segment sha256 %s\n", r.Digest)
	}
	if r.Signed > 0 {
		fmt.Fprintf(out, "signed up to segment %d at %s by %s\n", r.Signed, r.Until.UTC().Format(time.RFC3339), shown(r.Keys[len(r.Keys)-1]))
	} else if r.Segments > 0 {
		fmt.Fprintln(out, "no checkpoint: nothing that the log has signed says how far it went")
	}
	for i := range r.Removed {
		fmt.Fprintf(out, "%s\n", removedText(&r.Removed[i]))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(out, "  %s\n", shown(p))
	}
	return err
}

// removedText says what is not in the store any more, and by which word of the log.
func removedText(r *audit.Removed) string {
	day := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	what := fmt.Sprintf("records %d to %d", r.First, r.Last)
	switch r.Why {
	case audit.SetAside:
		if r.Gone {
			return fmt.Sprintf("%s: set aside as damaged at %s, and gone since", what, day(r.From))
		}
		return fmt.Sprintf("%s: set aside as damaged at %s", what, day(r.From))
	case audit.Astray:
		return fmt.Sprintf("%s: lost with a file that somebody removed or replaced, found at %s", what, day(r.To))
	case audit.BeforeFiles:
		return fmt.Sprintf("%s: were not there at %s, when files began to be accounted for", what, day(r.From))
	}
	return fmt.Sprintf("%s, of %s to %s: removed for their %s, %s", what, day(r.From), day(r.To), r.Why, plural(r.Files, "file"))
}

func keyCommand(g *global) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "key",
		Short: "Show the public key that proves the log, and those before it",
		Long: "Show the public keys that have signed the log, the newest last. Keep them where the log's own machine cannot\n" +
			"change them: they are what verify --key and the verifier of bundles go by.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			keys, err := audit.PublicKeys(cfg.Resolve(cfg.Audit.Path))
			if errors.Is(err, os.ErrNotExist) {
				return errors.New("there is no key yet: the first start makes one")
			}
			if err != nil {
				return err
			}
			var lines []string
			for _, key := range keys {
				lines = append(lines, key.String())
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(lines)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(lines, "\n"))
			return err
		},
	}
	jsonFlag(c, &asJSON)
	return c
}
