package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
)

func exceptionCommand(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "exception",
		Short: "Let a client or a group ask for a name for some time, whatever the rules say",
	}
	c.AddCommand(exceptionAddCommand(g), exceptionListCommand(g), exceptionExtendCommand(g), exceptionRemoveCommand(g))
	return c
}

// signed are the flags by which an operator answers for what is done.
type signed struct{ by, reason string }

func (s *signed) flags(c *cobra.Command) {
	who := os.Getenv("SUDO_USER")
	if who == "" {
		who = os.Getenv("USER")
	}
	c.Flags().StringVar(&s.by, "by", who, "`WHO` answers for it")
	c.Flags().StringVar(&s.reason, "reason", "", "`WHY` it is done")
}

// check is an error unless it is known who does something, and why.
func (s *signed) check() error {
	switch {
	case s.reason == "":
		return &exitError{exitUsage, errors.New("write why with --reason: it is kept on record")}
	case s.by == "":
		return &exitError{exitUsage, errors.New("write who answers for it with --by: the environment names no user")}
	}
	return nil
}

// wholeSeconds is how long something is to last.
func wholeSeconds(span time.Duration) (int64, error) {
	if span%time.Second != 0 {
		return 0, &exitError{exitUsage, fmt.Errorf("--for %s is no number of whole seconds", span)}
	}
	return int64(span / time.Second), nil
}

func exceptionAddCommand(g *global) *cobra.Command {
	var q admin.ExceptionRequest
	var who signed
	var lasts timespan
	var asJSON bool
	c := &cobra.Command{
		Use:   "add NAME --client CLIENT|--group GROUP --for TIME --reason WHY",
		Short: "Add an exception; NAME is the name and all below it, =NAME itself only, *.NAME what is below",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case (q.Client == "") == (q.Group == ""):
				return &exitError{exitUsage, errors.New("write --client with an address or a network, or --group")}
			case lasts <= 0:
				return &exitError{exitUsage, errors.New("write how long with --for, as in --for 2h")}
			}
			if err := who.check(); err != nil {
				return err
			}
			var err error
			if q.Seconds, err = wholeSeconds(time.Duration(lasts)); err != nil {
				return err
			}
			q.Name, q.By, q.Reason = args[0], who.by, who.reason
			return g.exceptionAction(cmd, asJSON, func(cl *admin.Client) (admin.Exception, error) { return cl.AddException(cmd.Context(), q) })
		},
	}
	c.Flags().StringVar(&q.Client, "client", "", "`CLIENT` that it is for, an address or a network")
	c.Flags().StringVar(&q.Group, "group", "", "`GROUP` of clients that it is for")
	c.Flags().Var(&lasts, "for", "`TIME` that it lasts, like 30m, 2h or 7d")
	who.flags(c)
	jsonFlag(c, &asJSON)
	return c
}

func exceptionExtendCommand(g *global) *cobra.Command {
	var who signed
	var lasts timespan
	var asJSON bool
	c := &cobra.Command{
		Use:   "extend ID --for TIME --reason WHY",
		Short: "Make an exception last longer",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := exceptionID(args[0])
			if err != nil {
				return err
			}
			if lasts <= 0 {
				return &exitError{exitUsage, errors.New("write how much longer with --for, as in --for 2h")}
			}
			if err := who.check(); err != nil {
				return err
			}
			seconds, err := wholeSeconds(time.Duration(lasts))
			if err != nil {
				return err
			}
			q := admin.ExceptionRequest{ID: id, By: who.by, Reason: who.reason, Seconds: seconds}
			return g.exceptionAction(cmd, asJSON, func(cl *admin.Client) (admin.Exception, error) { return cl.ExtendException(cmd.Context(), q) })
		},
	}
	c.Flags().Var(&lasts, "for", "`TIME` that it lasts longer, like 30m, 2h or 7d")
	who.flags(c)
	jsonFlag(c, &asJSON)
	return c
}

func exceptionRemoveCommand(g *global) *cobra.Command {
	var who signed
	var asJSON bool
	c := &cobra.Command{
		Use:   "remove ID --reason WHY",
		Short: "End an exception now",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := exceptionID(args[0])
			if err != nil {
				return err
			}
			if err := who.check(); err != nil {
				return err
			}
			q := admin.ExceptionRequest{ID: id, By: who.by, Reason: who.reason}
			return g.exceptionAction(cmd, asJSON, func(cl *admin.Client) (admin.Exception, error) { return cl.RemoveException(cmd.Context(), q) })
		},
	}
	who.flags(c)
	jsonFlag(c, &asJSON)
	return c
}

func exceptionID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &exitError{exitUsage, fmt.Errorf("exception %q: write its number, as `weir exception list` shows it", text)}
	}
	return id, nil
}

// exceptionAction has the server do something to an exception, and shows what has become of it.
func (g *global) exceptionAction(cmd *cobra.Command, asJSON bool, act func(*admin.Client) (admin.Exception, error)) error {
	cl, err := g.dial(cmd)
	if err != nil {
		return err
	}
	defer cl.Close()
	e, err := act(cl)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(e)
	}
	return printExceptions(cmd.OutOrStdout(), []admin.Exception{e}, time.Now())
}

func exceptionListCommand(g *global) *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Show the exceptions in force, or with --all those that ended too",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := g.listExceptions(cmd)
			if err != nil {
				return err
			}
			shownOnes := []admin.Exception{}
			for _, e := range list {
				if all || e.Ended.IsZero() {
					shownOnes = append(shownOnes, e)
				}
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(shownOnes)
			}
			if len(shownOnes) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no exception")
			}
			return printExceptions(cmd.OutOrStdout(), shownOnes, time.Now())
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that ended too")
	jsonFlag(c, &asJSON)
	return c
}

// listExceptions asks the server, or reads the file that a stopped one has left.
func (g *global) listExceptions(cmd *cobra.Command) ([]admin.Exception, error) {
	cl, cfg, err := g.reach(cmd)
	if err != nil {
		return nil, err
	}
	if cl != nil {
		defer cl.Close()
		return cl.Exceptions(cmd.Context())
	}
	store, err := exceptions.OpenReadOnly(exceptionsFile(cfg), exceptions.Config{})
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &exitError{exitBusy, err}
	}
	defer store.Close()
	return describeExceptions(store.All()), nil
}

func printExceptions(out io.Writer, list []admin.Exception, now time.Time) error {
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{
			fmt.Sprint(e.ID), shown(e.Name), shown(exceptionFor(e.Client, e.Group)), exceptionState(&e, now),
			shown(fmt.Sprintf("by %s: %s", e.By, e.Reason)),
		})
	}
	_, err := io.WriteString(out, table(rows, ""))
	return err
}

func exceptionFor(client, group string) string {
	if group != "" {
		return "group " + group
	}
	return client
}

// exceptionState says how long an exception still lasts, or when and why it ended.
func exceptionState(e *admin.Exception, now time.Time) string {
	const layout = "2006-01-02 15:04:05"
	if !e.Ended.IsZero() {
		text := fmt.Sprintf("%s %s", e.End, e.Ended.Local().Format(layout))
		if e.EndedBy != "" {
			text += " by " + shown(e.EndedBy)
		}
		return text
	}
	return fmt.Sprintf("until %s (%s)", e.Until.Local().Format(layout), e.Until.Sub(now).Round(time.Second))
}

// exceptionText is an exception in a record, with what was done to it last.
func exceptionText(e *exceptions.Exception) string {
	text := fmt.Sprintf("%s for %s until %s, by %s: %s", e.Name, exceptionFor(e.Client, e.Group), e.Until.UTC().Format(time.RFC3339), e.By, e.Reason)
	if n := len(e.Extended); n > 0 && e.InForce() {
		text += fmt.Sprintf("; extended by %s: %s", e.Extended[n-1].By, e.Extended[n-1].Reason)
	}
	if e.EndedBy != "" {
		text += fmt.Sprintf("; ended by %s", e.EndedBy)
		if e.EndReason != "" {
			text += ": " + e.EndReason
		}
	}
	return strings.TrimSpace(text)
}

func describeExceptions(list []exceptions.Exception) []admin.Exception {
	out := []admin.Exception{}
	for i := range list {
		out = append(out, describeException(&list[i]))
	}
	return out
}

func describeException(e *exceptions.Exception) admin.Exception {
	return admin.Exception{
		ID: e.ID, Name: e.Name, Client: e.Client, Group: e.Group, Reason: e.Reason, By: e.By, Created: e.Created, Until: e.Until,
		Extended: len(e.Extended), Ended: e.Ended, End: e.End, EndedBy: e.EndedBy, EndReason: e.EndReason,
	}
}
