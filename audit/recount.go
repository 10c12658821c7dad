package audit

import "errors"

// A recount counts hits from segments, the newest first, until their records are
// too old: those that a version which did not count has written, those whose
// counts were damaged, and those that an earlier recount did not come to.
type recount struct {
	left    uint64 // sequence number before which records are left to be counted; 0: none are
	window  window
	counted map[int64][]listHits // by hour
	damage  error                // of segments that were passed over

	tally *tally
	value []byte
	buf   []byte
	block block
}

func newRecount(left uint64, w window) *recount {
	return &recount{left: left, window: w, counted: make(map[int64][]listHits), tally: newTally()}
}

// wants says that a segment holds records to be counted, or that it and all before it are too old.
func (c *recount) wants(h *header) bool { return hourOf(h.max) >= c.window.from || c.ends(h) }

func (c *recount) ends(h *header) bool { return hourOf(h.high) < c.window.from }

// pending says whether a record is left.
func (c *recount) pending(st *store) (bool, error) {
	_, ok, err := st.previous(c.left, c.wants, &c.value)
	if !ok || err != nil {
		return false, err
	}
	h, err := readHeader(c.value)
	return err != nil || !c.ends(&h), nil
}

// step counts one segment. The error is one of the store itself.
func (c *recount) step(st *store, u *unpacker) error {
	key, ok, err := st.previous(c.left, c.wants, &c.value)
	if err != nil {
		at, on := st.beyond(err, false)
		if !on {
			return err
		}
		c.left, c.damage = at, errors.Join(c.damage, err)
		return nil
	}
	if !ok {
		c.left = 0
		return nil
	}
	before := c.left
	c.left = key
	c.buf, _, err = u.openBlock(&c.block, c.value, c.buf)
	if err == nil {
		if c.ends(&c.block.header) {
			c.left = 0
			return nil
		}
		err = c.count(before)
	}
	if err != nil {
		c.damage = errors.Join(c.damage, damaged(st.path(key), segmentPlace(key), err))
	}
	return nil
}

// count adds the records of the block, whose dictionaries have been read, that come before a
// sequence number: of a pack others may have been counted before they were packed.
func (c *recount) count(before uint64) error {
	b := &c.block
	if err := b.loadTexts(); err != nil {
		return err
	}
	c.tally.forget()
	named := false
	for i := range b.reasons {
		r := b.reason(uint32(i) + 1)
		c.tally.learn(r.Category, r.List)
		named = named || r.List != ""
	}
	if !named {
		return nil
	}
	if err := b.decode(false); err != nil {
		return err
	}
	for i := range b.rows {
		if r := &b.rows[i]; r.kind == KindQuery && b.header.first+uint64(i) < before {
			c.tally.add(r.time, r.reason, r.observed)
		}
	}
	for _, h := range c.tally.take() {
		if c.window.has(h.hour) {
			c.counted[h.hour] = merge(c.counted[h.hour], h.lists)
		}
	}
	return nil
}

// hours returns what was counted.
func (c *recount) hours() (hours []hourHits) {
	for hour, lists := range c.counted {
		hours = append(hours, hourHits{hour, lists})
	}
	return hours
}
