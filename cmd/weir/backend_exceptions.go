package main

import (
	"fmt"
	"strings"
	"time"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
)

// Exceptions implements admin.Backend.
func (s *server) Exceptions() []admin.Exception {
	return describeExceptions(s.attendant.exceptions.All())
}

// AddException implements admin.Backend.
func (s *server) AddException(q admin.ExceptionRequest) (admin.Exception, error) {
	if err := s.mayExcept(&q); err != nil {
		return admin.Exception{}, err
	}
	return s.excepted(audit.ActionExceptionAdd, q.Actor, func() (exceptions.Exception, error) {
		return s.attendant.exceptions.Add(exceptions.Request{
			Name: q.Name, Client: q.Client, Group: q.Group, For: time.Duration(q.Seconds) * time.Second, Reason: q.Reason, By: q.By,
		})
	})
}

// ExtendException implements admin.Backend. What a category has come to hold since is refused here too.
func (s *server) ExtendException(q admin.ExceptionRequest) (admin.Exception, error) {
	for _, e := range s.attendant.exceptions.Active() {
		if e.ID == q.ID {
			if err := s.mayExcept(&admin.ExceptionRequest{Name: e.Name, Client: e.Client, Group: e.Group}); err != nil {
				return admin.Exception{}, err
			}
		}
	}
	return s.excepted(audit.ActionExceptionExtend, q.Actor, func() (exceptions.Exception, error) {
		return s.attendant.exceptions.Extend(q.ID, time.Duration(q.Seconds)*time.Second, q.By, q.Reason)
	})
}

// RemoveException implements admin.Backend.
func (s *server) RemoveException(q admin.ExceptionRequest) (admin.Exception, error) {
	return s.excepted(audit.ActionExceptionRemove, q.Actor, func() (exceptions.Exception, error) {
		return s.attendant.exceptions.Remove(q.ID, q.By, q.Reason)
	})
}

// excepted does something to an exception, records it, and puts it in force before it returns. The record is on disk
// then, like the exception, so that no crash leaves one without the other.
func (s *server) excepted(action, actor string, do func() (exceptions.Exception, error)) (admin.Exception, error) {
	e, err := do()
	if e.ID != 0 { // one that is removed ends, even if that could not be written
		done := map[string]string{audit.ActionExceptionAdd: "added", audit.ActionExceptionExtend: "extended", audit.ActionExceptionRemove: "removed"}
		s.log.RecordChange(audit.Change{Action: action, Actor: actor, Text: fmt.Sprintf("exception %d %s: %s", e.ID, done[action], s.exceptionText(&e))})
		s.settle(true)
		s.flush()
	}
	if err != nil {
		return admin.Exception{}, err
	}
	return describeException(&e), nil
}

// exceptionText is an exception in a record, with as much of its client as records keep. A pseudonym is not named: the
// exception's own file has the address, by the number in the record.
func (s *server) exceptionText(e *exceptions.Exception) string {
	kept := *e
	of, err := parseNetwork(e.Client)
	switch {
	case err != nil: // it is for a group
	case s.log.Keyed() && s.log.Masks() && of.IsSingleIP():
		kept.Client = "a client"
	default:
		kept.Client = s.log.ClientText(of)
	}
	return exceptionText(&kept)
}

// mayExcept is an error if there can be no such exception. It writes the client as it is kept.
func (s *server) mayExcept(q *admin.ExceptionRequest) error {
	name, err := blocklist.EntryName(q.Name)
	if err != nil {
		return err
	}
	b := s.current()
	if category := s.resolver.State().Policy.NeverExcepted(name, typeA); category != "" {
		return fmt.Errorf("%s is in the category %q, from which there are no exceptions (never_except, %s)",
			blocklist.NameString(name), category, b.categoryPos(category))
	}
	switch {
	case (q.Client == "") == (q.Group == ""):
		return fmt.Errorf("an exception is for a client or for a group")
	case q.Client != "":
		prefix, err := parseNetwork(q.Client)
		if err != nil {
			return fmt.Errorf("client %q is neither an address nor a network", q.Client)
		}
		q.Client = prefix.String()
		if prefix.IsSingleIP() {
			q.Client = prefix.Addr().String()
		}
	case b.groups[q.Group] == nil:
		var names []string
		for _, g := range b.cfg.Groups {
			names = append(names, g.Name)
		}
		hint := "there are none"
		if near := nearest(q.Group, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		} else if len(names) > 0 {
			hint = "there are " + strings.Join(names, ", ")
		}
		return fmt.Errorf("no group is called %q; %s", q.Group, hint)
	}
	return nil
}

const typeA = 1 // RFC 1035 §3.2.2

// categoryPos is where the configuration says that a category is never excepted.
func (b *built) categoryPos(name string) string {
	for i := range b.cfg.Categories {
		if k := &b.cfg.Categories[i]; k.Name == name {
			return b.cfg.Where(&k.NeverExcept)
		}
	}
	return ""
}
