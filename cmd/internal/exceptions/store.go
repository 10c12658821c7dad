package exceptions

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ErrReadOnly is returned by what would change a store that is closed or was
// opened to be read.
var ErrReadOnly = errors.New("the exceptions can only be read")

// Add puts an exception in force. It is on disk when Add returns; with an error
// nothing has changed.
func (s *Store) Add(q Request) (Exception, error) {
	whom, err := q.check()
	if err != nil {
		return Exception{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.begin()
	if err != nil {
		return Exception{}, err
	}
	if err := s.mayLast(0, now, 0, q.For); err != nil {
		return Exception{}, err
	}
	if len(s.force) >= maxInForce {
		return Exception{}, &RefusedError{
			Reason: fmt.Sprintf("%d exceptions are in force, the most there can be", len(s.force)),
			Hint:   "remove some, or write a rule",
		}
	}
	for _, r := range s.force {
		if targetOf(r.Name, r.Client, r.Group) == whom {
			return Exception{}, &RefusedError{
				ID:     r.ID,
				Reason: fmt.Sprintf("exception %d is for the same, and in force until %s", r.ID, r.Until.Format(time.RFC3339)),
				Hint:   fmt.Sprintf("to make it last longer: weir exception extend %d", r.ID),
			}
		}
	}
	r := &record{
		Exception: Exception{
			ID: s.next, Name: q.Name, Client: q.Client, Group: q.Group, Reason: q.Reason, By: q.By,
			Created: now.wall, Until: now.wall.Add(q.For),
		},
		deadline: now.boot + q.For,
	}
	if err := s.commit(now, r); err != nil {
		return Exception{}, fmt.Errorf("no exception was made: %w", err)
	}
	return r.copied(), nil
}

// Extend makes an exception last longer by so much. It is on disk when Extend
// returns; with an error nothing has changed.
func (s *Store) Extend(id uint64, by time.Duration, who, reason string) (Exception, error) {
	if err := checkDuration(by); err != nil {
		return Exception{}, err
	}
	if err := checkSaid(who, reason); err != nil {
		return Exception{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.begin()
	if err != nil {
		return Exception{}, err
	}
	r, err := s.inForce(id)
	if err != nil {
		return Exception{}, err
	}
	if len(r.Extended) >= maxExtensions {
		return Exception{}, &RefusedError{
			ID: id, Reason: fmt.Sprintf("exception %d was extended %d times, the most there can be", id, maxExtensions),
			Hint: "write a rule, or remove it and add another",
		}
	}
	// By either clock: one of them was set, and nobody knows which is right.
	left := max(r.Until.Sub(now.wall), r.deadline-now.boot)
	if err := s.mayLast(id, now, left, by); err != nil {
		return Exception{}, err
	}
	next := &record{Exception: r.copied(), deadline: r.deadline + by}
	next.Until = next.Until.Add(by)
	next.Extended = append(next.Extended, Extension{At: now.wall, Until: next.Until, By: who, Reason: reason})
	if err := s.commit(now, next); err != nil {
		return Exception{}, fmt.Errorf("exception %d was not extended: %w", id, err)
	}
	return next.copied(), nil
}

// Remove ends an exception. If that cannot be written to disk it ends all the
// same: then the exception, with its end, comes with the error, and the end is
// written as soon as the disk works again. With any other error nothing has changed.
func (s *Store) Remove(id uint64, who, reason string) (Exception, error) {
	if err := checkSaid(who, reason); err != nil {
		return Exception{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.begin()
	if err != nil {
		return Exception{}, err
	}
	r, err := s.inForce(id)
	if err != nil {
		return Exception{}, err
	}
	next := s.end(r, now.wall, EndRemoved)
	next.EndedBy, next.EndReason, next.untold = who, reason, false
	delete(s.untold, id)
	if err := s.commit(now, nil); err != nil {
		return next.copied(), fmt.Errorf("exception %d has ended, but a restart may bring it back until this is on disk: %w", id, err)
	}
	return next.copied(), nil
}

// Tick ends what has run out and returns all that ended since the last call, but
// for Remove, by ID: the caller records them before it calls Tick or Close again.
// It forgets what ended long ago, and writes down what is not on disk yet; if that
// fails the log says so. It is to be called about once a second.
func (s *Store) Tick() (ended []Exception) {
	s.again()
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.begin()
	if err != nil {
		return nil
	}
	s.told()
	s.forget(now)
	since := now.boot - s.saved.boot
	if len(s.dirty) > 0 || len(s.force) > 0 && (since >= saveEvery || since < 0) {
		s.save(now)
	}
	for _, id := range slices.Sorted(maps.Keys(s.untold)) {
		ended = append(ended, s.ended[id].copied())
		s.untold[id] = true
	}
	return ended
}

// Active returns the exceptions in force, by ID.
func (s *Store) Active() []Exception {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(read(s.cfg.Clock))
	return sorted(s.force)
}

// All returns all exceptions, those that ended too, the newest first.
func (s *Store) All() []Exception {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(read(s.cfg.Clock))
	all := append(sorted(s.force), sorted(s.ended)...)
	slices.SortFunc(all, func(a, b Exception) int { return -compare(a, b) })
	return all
}

// At returns the exceptions that were or will be in force at t, by ID, as far as
// they are kept. It knows the wall clock only: where that was set back, one instant
// was twice.
func (s *Store) At(t time.Time) (at []Exception) {
	for _, e := range s.All() {
		until := e.Until
		if !e.InForce() {
			until = e.Ended
		}
		if !t.Before(e.Created) && t.Before(until) {
			at = append(at, e)
		}
	}
	slices.Reverse(at)
	return at
}

// Next returns the earliest Until of the exceptions in force, zero if there are none.
func (s *Store) Next() (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(read(s.cfg.Clock))
	for _, r := range s.force {
		if next.IsZero() || r.Until.Before(next) {
			next = r.Until
		}
	}
	return next
}

// begin starts a change: it reads the clock and ends what has run out.
func (s *Store) begin() (now reading, err error) {
	if s.closed || s.file == nil {
		return now, ErrReadOnly
	}
	now = read(s.cfg.Clock)
	s.settle(now)
	return now, nil
}

// settle ends what has run out, and writes that down so that it stays ended.
func (s *Store) settle(now reading) {
	if s.closed {
		return
	}
	before := len(s.force)
	for _, r := range s.force {
		switch {
		case !now.wall.Before(r.Until):
			s.end(r, r.Until, EndExpired)
		case now.boot >= r.deadline:
			s.end(r, now.wall, EndExpired)
		}
	}
	if len(s.force) < before {
		s.save(now)
	}
}

// end ends an exception in memory and returns it.
func (s *Store) end(r *record, at time.Time, how string) *record {
	next := *r
	next.Ended, next.End, next.deadline, next.untold = at, how, 0, true
	delete(s.force, r.ID)
	s.ended[r.ID] = &next
	s.untold[r.ID] = false
	s.dirty[r.ID] = true
	return &next
}

// told marks what the last Tick returned as known to the caller.
func (s *Store) told() {
	for id, returned := range s.untold {
		if !returned {
			continue
		}
		next := *s.ended[id]
		next.untold = false
		s.ended[id] = &next
		s.dirty[id] = true
		delete(s.untold, id)
	}
}

// forget lets go of what ended too long ago. A clock that is set forward for less
// than an hour makes it forget nothing.
func (s *Store) forget(now reading) {
	if since := now.boot - s.looked.boot; since >= lookEvery || since < 0 {
		wall := now.wall
		if s.looked.wall.Before(wall) {
			wall = s.looked.wall
		}
		s.looked = now
		for id, r := range s.ended {
			if !r.untold && r.Ended.Before(wall.Add(-s.cfg.Keep)) {
				s.drop(id)
			}
		}
	}
	if len(s.ended) <= maxEnded {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.ended))[:len(s.ended)-maxEnded+maxEnded/100] {
		if !s.ended[id].untold {
			s.drop(id)
		}
	}
}

func (s *Store) drop(id uint64) {
	delete(s.ended, id)
	s.dirty[id] = true
}

// inForce returns the exception, or says why it is not in force.
func (s *Store) inForce(id uint64) (*record, error) {
	if r := s.force[id]; r != nil {
		return r, nil
	}
	if r := s.ended[id]; r != nil {
		return nil, &RefusedError{
			ID: id, Reason: fmt.Sprintf("exception %d has ended (%s) at %s", id, r.End, r.Ended.Format(time.RFC3339)),
			Hint: "add a new one",
		}
	}
	return nil, &RefusedError{ID: id, Reason: fmt.Sprintf("there is no exception %d", id), Hint: "to see them: weir exception list"}
}

// mayLast refuses what would be in force for longer than it may from now on: for
// what is left of it and more.
func (s *Store) mayLast(id uint64, now reading, left, more time.Duration) error {
	switch {
	case more > s.cfg.MaxDuration-left:
		text := fmt.Sprintf("%s is too long", short(more))
		if left > 0 {
			text += fmt.Sprintf(" beside the %s that are left", short(left.Truncate(time.Second)))
		}
		return &RefusedError{
			ID: id, Reason: fmt.Sprintf("%s: an exception may end %s from now at the latest", text, short(s.cfg.MaxDuration)),
			Hint: "[exceptions] max_duration says so",
		}
	case !now.known() || now.wall.Add(left+more).After(lastTime):
		return &RefusedError{
			ID: id, Reason: fmt.Sprintf("the clock says that it is %s, so nobody knows when it would end", now.wall.Format(time.RFC3339)),
			Hint: "set the clock",
		}
	}
	return nil
}

// save is commit for what has happened in any case: that the file cannot be
// written goes to the log, and the next Tick tries again.
func (s *Store) save(now reading) {
	if s.file == nil {
		return
	}
	err := s.commit(now, nil)
	switch {
	case err == nil:
		s.failed = reading{}
	case s.failed.wall.IsZero() || now.boot-s.failed.boot >= repeatEvery:
		s.failed = now
		s.cfg.Logger.Error("exceptions are not on disk: an exception that has ended may come back by a restart", "error", err)
	}
}

// commit makes the file hold what memory holds, and change instead of what has its
// ID; then memory holds it too. If that fails memory is as before, and what the
// file then has of it is put right by the next commit.
func (s *Store) commit(now reading, change *record) error {
	values := make(map[uint64][]byte)
	var removed []uint64
	for id := range s.dirty {
		if r := s.force[id]; r != nil {
			values[id] = r.encode()
		} else if r := s.ended[id]; r != nil {
			values[id] = r.encode()
		} else {
			removed = append(removed, id)
		}
	}
	next := state{next: s.next, seen: now, bootID: s.bootID}
	if change != nil {
		values[change.ID] = change.encode()
		next.next = max(s.next, change.ID+1)
		removed = slices.DeleteFunc(removed, func(id uint64) bool { return id == change.ID })
	}
	for id, sum := range s.sums {
		if _, again := values[id]; !again && !s.dirty[id] {
			next.count, next.sum = next.count+1, next.sum+uint64(sum)
		}
	}
	for _, value := range values {
		next.count, next.sum = next.count+1, next.sum+uint64(checksum(value))
	}
	if err := s.file.write(values, removed, next); err != nil {
		if change != nil {
			s.dirty[change.ID] = true
		}
		return err
	}
	for _, id := range removed {
		delete(s.sums, id)
	}
	for id, value := range values {
		s.sums[id] = checksum(value)
	}
	if change != nil {
		s.force[change.ID] = change
	}
	clear(s.dirty)
	s.next, s.saved = next.next, now
	return nil
}

func sorted(records map[uint64]*record) []Exception {
	list := make([]Exception, 0, len(records))
	for _, r := range records {
		list = append(list, r.copied())
	}
	slices.SortFunc(list, compare)
	return list
}

func compare(a, b Exception) int {
	switch {
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}
