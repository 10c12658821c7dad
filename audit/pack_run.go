package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// When a period is over, its file is made again of packs. That goes on beside the writer, on a
// goroutine of its own that has a quarter of a core at most and stands still while the log is
// short of slabs or cannot write. The new file is made under another name; each pack is proven,
// from its own octets, before it goes there, and once more when the file is whole, and then the
// file takes the name of the old one. So a crash leaves either file, and a mistake in packing
// costs nothing but the room that is not saved.
const (
	packEvery = time.Minute            // how often it is looked whether a period is over
	packRest  = 3                      // times of rest after each time of work
	packTurn  = 5 * time.Millisecond   // of work, after which there is rest
	packBusy  = 500 * time.Millisecond // until it is asked again whether the log is short of slabs
	packAgain = time.Hour              // after a failure
	packBatch = 8 << 20                // octets that are written in one transaction
	packSpare = 64 << 20               // octets of the disk that packing leaves to the log
	packGrows = 64 << 10               // octets by which the new file grows, so that not much of it is empty
)

// A packing is the state of Log.pack.
type packing struct {
	log    *Log
	ctx    context.Context
	packer *packer
	done   map[*file]uint64 // segments in packs, of the files that have been looked at
	failed map[*file]time.Time
	room   func(dir string) (octets uint64, known bool)
	worked time.Duration // since the last rest
	began  time.Time     // of the piece of work that is being done
	buf    []byte
	block  block
	keys   [][]byte // what is to be written next
	values [][]byte
	size   int // octets of the values
}

// pack packs the files of periods that are over until ctx ends.
func (l *Log) pack(ctx context.Context) {
	p := newPacking(ctx, l)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := p.step(); err != nil && ctx.Err() == nil {
			l.cfg.Logger.Warn("audit segments were not packed, will try again", "error", err)
		}
		p.packer, p.block, p.buf = nil, block{}, nil // some 20 MB, which until the next period are long
		timer.Reset(packEvery)
	}
}

func newPacking(ctx context.Context, l *Log) *packing {
	return &packing{log: l, ctx: ctx, done: make(map[*file]uint64), failed: make(map[*file]time.Time), room: roomIn}
}

// step packs each file that has been followed by another and was not packed yet.
func (p *packing) step() error {
	st := p.log.store.Load()
	if st == nil {
		return nil
	}
	files := st.all()
	var errs []error
	for _, f := range files[:max(len(files)-1, 0)] {
		if _, ok := p.done[f]; ok || time.Since(p.failed[f]) < packAgain {
			continue
		}
		err := p.file(st, f)
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		if err != nil && !errors.Is(err, errGone) { // it is damaged, or the disk is full
			errs = append(errs, fmt.Errorf("pack %s: %w", f.path, err))
			p.failed[f] = time.Now()
		}
	}
	var sum uint64
	for _, f := range files {
		sum += p.done[f]
	}
	p.log.status.Lock()
	p.log.status.packed = sum
	p.log.status.Unlock()
	return errors.Join(errs...)
}

// file makes a file again if there are segments in it that can be packed.
func (p *packing) file(st *store, f *file) error {
	b, err := st.use(f)
	if err != nil {
		return err
	}
	defer st.leave(f)
	had, some, err := p.look(b)
	if err != nil || !some {
		if err == nil {
			p.done[f] = had
		}
		return err
	}
	before, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	// A disk that packing filled would cost the log records.
	if room, known := p.room(p.log.cfg.Dir); known && room < uint64(before.Size())+packSpare {
		return fmt.Errorf("there is room for %d octets, %d are wanted", room, before.Size()+packSpare)
	}
	made := f.path + newSuffix
	packs, err := p.remake(b, made)
	if err == nil && packs > had { // else what can be packed by its headers cannot be by what is in it
		err = st.replace(f, made)
	}
	if err != nil || packs == had {
		os.Remove(made)
	}
	if err != nil {
		return err
	}
	p.done[f] = packs
	if after, err := os.Stat(f.path); err == nil {
		p.log.cfg.Logger.Info("an audit file was packed", "file", f.path, "octets", after.Size(), "before", before.Size())
	}
	return nil
}

// look counts the segments that are in packs, and says whether two neighbours are not but
// could be.
func (p *packing) look(b *boltFile) (packs uint64, some bool, err error) {
	var before header
	var value []byte
	_, _, err = b.following(0, func(h *header) bool {
		if h.packed {
			packs += uint64(h.segments)
		}
		some = some || packable(h) && packable(&before) && before.precedes(h) && before.count+h.count <= p.log.packRows
		before = *h
		return false
	}, &value)
	return packs, some, err
}

// packable says that a segment can be part of a pack; precedes that another comes next.
func packable(h *header) bool { return !h.packed && h.proven && h.version >= 2 }

func (h *header) precedes(next *header) bool {
	return next.number == h.number+1 && next.first == h.last()+1 && next.masked == h.masked
}

// remake makes a file of what is in b, and returns how many of its segments are in packs.
func (p *packing) remake(b *boltFile, path string) (packs uint64, err error) {
	if p.packer == nil {
		if p.packer, err = newPacker(); err != nil {
			return 0, err
		}
		p.packer.pause, p.packer.most = p.pause, p.log.packRows
	}
	p.began, p.worked = time.Now(), 0
	p.packer.reset()
	p.keys, p.values, p.size = nil, nil, 0
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	to, err := openBolt(path, false)
	if err != nil {
		return 0, err
	}
	to.db.AllocSize, to.db.NoSync = packGrows, true // it is synced when it is whole
	err = guard(path, "packing", func() error {
		if packs, err = p.repack(b, to); err != nil {
			return err
		}
		return to.db.Sync()
	})
	if err == nil {
		err = p.compare(b, to)
	}
	return packs, errors.Join(err, to.close())
}

// compare proves that a file which is to take the place of another has as much in it, and that its
// packs are whole on disk.
func (p *packing) compare(b, to *boltFile) error {
	var sums [2]struct{ values, segments, records uint64 }
	for i, file := range []*boltFile{b, to} {
		for at := (position{}); ; {
			ok, err := file.step(&at)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			h, err := readHeader(at.value)
			switch {
			case err != nil:
				sums[i].values++
			case h.packed:
				if err := checkPack(at.value); err != nil && file == to {
					return damaged(to.path, segmentPlace(h.first), err)
				}
				fallthrough
			default:
				sums[i].segments += h.lastNumber() - h.number + 1
				sums[i].records += uint64(h.count)
			}
			p.pause()
		}
	}
	if sums[0] != sums[1] {
		return fmt.Errorf("what was packed has %d records in %d segments instead of %d in %d", sums[1].records, sums[1].segments, sums[0].records, sums[0].segments)
	}
	return nil
}

// repack copies the buckets of a file, the segments in packs where that can be.
func (p *packing) repack(b, to *boltFile) (packs uint64, err error) {
	if err := copyOthers(b, to); err != nil {
		return 0, err
	}
	flush := func() error {
		n, err := p.flush(to)
		packs += n
		return err
	}
	for at := (position{}); ; {
		ok, err := b.step(&at)
		if err != nil {
			return packs, err
		}
		if !ok {
			break
		}
		if p.ctx.Err() != nil {
			return packs, p.ctx.Err()
		}
		h, err := readHeader(at.value)
		if err == nil && !p.packer.takes(&h) {
			if err := flush(); err != nil {
				return packs, err
			}
		}
		if err == nil && p.packer.takes(&h) && p.add(at.key, at.value) {
			continue
		}
		if h.packed {
			packs += uint64(h.segments)
		}
		// What cannot be packed, or is damaged, stays as it is.
		if err := errors.Join(flush(), p.put(to, at.key, at.value)); err != nil {
			return packs, err
		}
	}
	if err := flush(); err != nil {
		return packs, err
	}
	return packs, p.write(to)
}

// add adds a segment to the next pack, if it is whole.
func (p *packing) add(key, value []byte) bool {
	var err error
	p.buf, _, err = p.log.unpacker.openBlock(&p.block, value, p.buf)
	if err == nil {
		err = p.block.decode(true)
	}
	h := &p.block.header
	if err != nil || string(key) != string(segmentKey(h.first)) {
		return false
	}
	f := frontOf(h, value)
	if p.block.root(h, 0) != f.root {
		return false
	}
	p.packer.add(&p.block, f)
	if len(p.packer.fronts) == 1 {
		p.packer.alone = append(p.packer.alone[:0], value...)
	}
	p.pause()
	return true
}

// flush writes the pack of the segments that were added, and returns how many they are. One
// by itself stays a segment.
func (p *packing) flush(to *boltFile) (packs uint64, err error) {
	defer p.packer.reset()
	switch len(p.packer.fronts) {
	case 0:
		return 0, nil
	case 1:
		return 0, p.put(to, segmentKey(p.packer.header.first), p.packer.alone)
	}
	pack := p.packer.value(p.log.notary.key)
	if p.ctx.Err() != nil {
		return 0, p.ctx.Err()
	}
	if err := provePacked(p.log.unpacker, pack, p.packer.fronts, p.pause); err != nil {
		return 0, err
	}
	p.pause()
	return uint64(len(p.packer.fronts)), p.put(to, segmentKey(p.packer.header.first), pack)
}

// copyOthers copies the buckets that are not the segments'.
func copyOthers(b, to *boltFile) error {
	return b.view("packing it", func(c *bbolt.Cursor) error {
		return to.db.Update(func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucket(segmentBucket); err != nil {
				return err
			}
			return c.Bucket().Tx().ForEach(func(name []byte, from *bbolt.Bucket) error {
				if string(name) == string(segmentBucket) {
					return nil
				}
				bucket, err := tx.CreateBucket(name)
				if err != nil {
					return err
				}
				return from.ForEach(func(k, v []byte) error {
					if v == nil {
						return errors.New("it has buckets in buckets")
					}
					return bucket.Put(k, v)
				})
			})
		})
	})
}

// put adds a value to the segments, which goes to the file with others: in transactions of
// their own values would leave as much room again between them.
func (p *packing) put(to *boltFile, key, value []byte) error {
	p.keys, p.values = append(p.keys, bytes.Clone(key)), append(p.values, bytes.Clone(value))
	if p.size += len(value); p.size < packBatch {
		return nil
	}
	return p.write(to)
}

// write writes what was put.
func (p *packing) write(to *boltFile) error {
	defer func() { p.keys, p.values, p.size = nil, nil, 0 }()
	return to.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(segmentBucket)
		b.FillPercent = 1 // keys only grow
		for i, key := range p.keys {
			if err := b.Put(key, p.values[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// pause gives way after some work, and stands still while the log is busy or until ctx ends.
func (p *packing) pause() {
	p.worked += time.Since(p.began)
	for p.worked >= packTurn && p.ctx.Err() == nil {
		rest := packRest * p.worked
		p.worked = 0
		if p.log.busy() {
			rest, p.worked = packBusy, packTurn
		}
		timer := time.NewTimer(rest)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
		}
	}
	p.began = time.Now()
}

// busy says that the log needs the machine for itself.
func (l *Log) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.free) < l.cfg.Slabs/2 || l.failing.Load()
}
