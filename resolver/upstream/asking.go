package upstream

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// An asking is a query with the calls that carry it, each on a stream of its own.
// The first that brings a reply ends it.
type asking struct {
	calls [maxMessages]*call // in the order in which they were sent; nil are those that have ended
	sent  int
	least time.Duration // of silence that is bearable: who has long to wait may ask what takes long
	alone bool          // there is no other connection to send it over
	said  chan outcome  // capacity maxMessages: a call writes once at most
}

const silentPart = 8 // of the time that a query has, for which any connection may be silent

// ask sends the query and waits for its reply. If a connection that was there
// before is lost, the query is sent once more over a newer one, since the server
// may have closed it when the query was on its way (RFC 7766 §6.2.4). While one is
// silent for too long the query is sent over another one as well: a packet that is
// lost several times in a row holds up all that is behind it, for seconds in the
// end, and a connection that a router has forgotten says nothing ever.
func (p *streams) ask(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	if err := ctx.Err(); err != nil {
		return nil, foreign, err
	}
	if a.messages >= maxMessages {
		return nil, foreign, errors.New("refuses EDNS and has been sent all messages")
	}
	w := asking{said: make(chan outcome, maxMessages), least: min(time.Until(a.deadline)/silentPart, mostPatience)}
	if err := w.send(p, a, 0); err != nil {
		return nil, foreign, err
	}
	timer := time.NewTimer(time.Until(w.next(a)))
	defer timer.Stop()
	for again := true; ; timer.Reset(time.Until(w.next(a))) {
		select {
		case o := <-w.said:
			w.ended(o.of)
			switch {
			case o.err == nil:
				w.giveUp(o.of)
				return o.reply, o.found, nil
			case w.left(o.lost):
				continue // another call may do better
			case again && o.lost && o.of.joined && a.messages < maxMessages:
				again = false
				if err := w.send(p, a, o.of.on.serial); err != nil {
					return w.leave(err)
				}
				continue
			}
			return w.leave(o.err)
		case <-ctx.Done():
			return w.leave(ctx.Err())
		case <-timer.C:
			switch now := time.Now(); {
			case !now.Before(a.deadline):
				return w.leave(os.ErrDeadlineExceeded)
			case !now.Before(w.next(a)):
				w.alone = w.send(p, a, 0) != nil
			}
		}
	}
}

// send sends the query over a stream that does not carry it yet, with a serial above
// after if there can be one.
func (w *asking) send(p *streams, a *attempt, after int) error {
	c, err := p.begin(&a.query, after, w)
	if err != nil {
		return err
	}
	w.calls[w.sent] = c
	w.sent++
	a.messages++
	return nil
}

// next is when there is something to do if no call ends before: the connection that
// the query was sent over last has been silent for too long then, which is twice as
// long each time, or it is the deadline.
func (w *asking) next(a *attempt) time.Time {
	c := w.calls[w.sent-1]
	if c == nil || w.alone || a.messages >= maxMessages {
		return a.deadline
	}
	s := c.on
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	since := c.began
	if s.conn != nil && s.quiet.After(since) {
		since = s.quiet
	}
	return earlier(since.Add(max(s.of.patience(), w.least)<<(w.sent-1)), a.deadline)
}

// carries says that a call is on s.
func (w *asking) carries(s *stream) bool {
	return slices.ContainsFunc(w.calls[:], func(c *call) bool { return c != nil && c.on == s })
}

// left says that a call is left that may do better than one that failed: of those
// that still dial none will where another could not connect.
func (w *asking) left(connected bool) bool {
	return slices.ContainsFunc(w.calls[:], func(c *call) bool { return c != nil && (connected || c.on.connects()) })
}

func (w *asking) ended(c *call) { w.calls[slices.Index(w.calls[:], c)] = nil }

// giveUp gives up the calls that are left, because winner was answered if it is not
// nil.
func (w *asking) giveUp(winner *call) {
	for _, c := range w.calls {
		if c != nil {
			c.giveUp(winner)
		}
	}
}

// leave gives up all calls, unless one was answered meanwhile.
func (w *asking) leave(why error) (*dns.Msg, finding, error) {
	w.giveUp(nil)
	for {
		select {
		case o := <-w.said:
			if o.err == nil {
				return o.reply, o.found, nil
			}
		default:
			return nil, foreign, why
		}
	}
}
