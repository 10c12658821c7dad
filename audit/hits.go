package audit

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// A ListRef names a list as a Reason does. The zero ListRef stands for all lists
// of an hour that found no room in its roll-up (see "Hits" in the package's text).
type ListRef struct {
	Category string `json:"category,omitempty"`
	List     string `json:"list"`
}

// Hits counts queries by what a list had to do with them.
type Hits struct {
	Decided  uint64 `json:"decided"`  // it is in the reason of the verdict, allow or block
	Observed uint64 `json:"observed"` // an observe rule found the name on it
}

// ErrCounting is returned by Log.Hits, with the counts so far, while older hours
// are still being counted from the segments: after an update from a version that
// did not count, and after damage, which is found when the next hour begins at
// the latest.
var ErrCounting = errors.New("the hits of older records are still being counted")

// Hits returns how many queries each list decided, and for how many it was
// observed, from the beginning of the UTC hour in which since lies. Hours are
// kept for 8 days. What has been committed is in it; see also ErrCounting. It
// reads the store and is not for the hot path.
func (l *Log) Hits(since time.Time) (map[ListRef]Hits, error) { return l.Reader().Hits(since) }

// Hits is like Log.Hits. On the store of a stopped log it counts from the
// segments what has not been counted yet, which may take long, and then returns
// a *DamageError for each damaged segment, joined, as Search does.
func (r *Reader) Hits(since time.Time) (map[ListRef]Hits, error) {
	st, err := r.store()
	if err != nil {
		return nil, err
	}
	from := min(max(since.Unix(), 0)/3600, lastHour)
	kept, err := st.hits(from)
	if err != nil {
		return nil, err
	}
	sum := make(map[ListRef]Hits)
	addTo(sum, kept.hours)
	if kept.left == 0 {
		return sum, nil
	}
	rest := newRecount(kept.left, window{from, from})
	if r.own == nil {
		switch missing, err := rest.pending(st); {
		case err != nil:
			return nil, err
		case !missing:
			return sum, nil
		case kept.damage != nil:
			return sum, fmt.Errorf("%w: %w", ErrCounting, kept.damage)
		}
		return sum, ErrCounting
	}
	rest.window = around(kept.newest)
	rest.window.from = max(rest.window.from, from)
	for rest.left > 0 {
		if err := rest.step(st, r.unpacker); err != nil {
			return nil, errors.Join(rest.damage, err)
		}
	}
	addTo(sum, rest.hours())
	return sum, rest.damage
}

func addTo(sum map[ListRef]Hits, hours []hourHits) {
	for _, h := range hours {
		for _, l := range h.lists {
			sum[l.ref] = sum[l.ref].plus(l.hits)
		}
	}
}

// keptHits is what a store's roll-up says.
type keptHits struct {
	some   bool // there are segments
	hours  []hourHits
	left   uint64 // records before it are not in hours; 0: all are
	newest int64  // hour of the newest record
	damage error  // why the roll-up is of no use; hours is then empty
}

// hits reads the roll-up's hours beginning with from. The error is one of the
// store itself.
func (s *boltFile) hits(from int64) (kept keptHits, err error) {
	err = s.view("reading the hits of lists", func(c *bbolt.Cursor) error {
		k, v := c.Last()
		if k == nil {
			return nil
		}
		h, err := readHeader(v)
		if err != nil {
			return damaged(s.path, keyPlace(k), err)
		}
		kept.some, kept.newest, kept.left = true, hourOf(h.max), h.last()+1
		kept.damage = guard(s.path, "reading the hits of lists", func() error {
			tx := c.Bucket().Tx()
			b := tx.Bucket(newestHits(tx))
			if b == nil {
				return nil
			}
			done, hours, err := s.readHits(b, from)
			if err != nil {
				return damaged(s.path, "hits of lists", err)
			}
			if done.last == h.last() { // else a version that does not count has written since
				kept.hours, kept.left = hours, done.left
			}
			return nil
		})
		return nil
	})
	return kept, err
}

func (h Hits) plus(more Hits) Hits {
	return Hits{h.Decided + more.Decided, h.Observed + more.Observed}
}

func (r ListRef) compare(to ListRef) int {
	if c := cmp.Compare(r.Category, to.Category); c != 0 {
		return c
	}
	return cmp.Compare(r.List, to.List)
}
