package audit

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const indexDir = "index"

// An index is the runs of a folder. It says where in a store something may be, and
// never that something is not what the store says: what is in no run is searched, a
// run that cannot be read is passed over, and without any all answers are the same.
type index struct {
	dir    string
	sizes  runSizes
	runs   atomic.Pointer[[]*run] // in order, none overlaps another; nil before they are loaded
	oldest atomic.Uint64          // sequence number of the oldest record in the store, 0 when it is not known
	once   sync.Once              // loads it, of a stopped log
}

func newIndex(dir string) *index {
	return &index{dir: filepath.Join(dir, indexDir), sizes: defaultSizes}
}

// IndexStats says what the index has.
type IndexStats struct {
	Runs    int    `json:"runs"`
	Bytes   int64  `json:"bytes"`
	Records uint64 `json:"records"`           // that the runs are about
	Behind  uint64 `json:"behind"`            // records that no run is about, which are searched one by one
	Damaged int    `json:"damaged,omitempty"` // runs that cannot be used, and will be made again
}

// stats returns what is known; newest is the sequence number of the last record.
func (x *index) stats(newest uint64) (s IndexStats) {
	next := max(x.oldest.Load(), 1)
	for _, r := range x.all() {
		if r.bad.Load() {
			s.Damaged++
			continue
		}
		s.Runs++
		s.Bytes += r.size
		s.Records += r.records()
		if r.first > next {
			s.Behind += r.first - next
		}
		next = max(next, r.last+1)
	}
	if newest >= next {
		s.Behind += newest - next + 1
	}
	return s
}

func (x *index) all() []*run {
	if p := x.runs.Load(); p != nil {
		return *p
	}
	return nil
}

// room returns how many octets the runs take that are about records from oldest on: the
// others go when nothing before it is in the store any more.
func (x *index) room(oldest uint64) (n int64) {
	for _, r := range x.all() {
		if r.last >= oldest {
			n += r.size
		}
	}
	return n
}

// Index says what the index has. Of a stopped log that is what it would use.
func (r *Reader) Index() (IndexStats, error) {
	runs := r.runs()
	st, err := r.store()
	if err != nil {
		return IndexStats{}, err
	}
	var p page
	newestSeq := uint64(0)
	key, ok, err := r.previous(st, newest, nil, &p)
	if err != nil {
		return IndexStats{}, err
	}
	if ok {
		newestSeq = p.after(key) - 1
	}
	x := index{}
	x.runs.Store(&runs)
	if key, ok, err = r.following(st, 0, nil, &p); err == nil && ok {
		x.oldest.Store(key)
	}
	return x.stats(newestSeq), err
}

// runs returns the runs that a question may use, the oldest first.
func (r *Reader) runs() []*run {
	x := r.index
	if r.own != nil {
		x.once.Do(func() {
			runs, _ := x.load(r)
			x.runs.Store(&runs)
		})
	}
	return x.all()
}

// load returns the runs in the folder that are of r's store, and the paths of
// those that are of no use, with the reasons.
func (x *index) load(r *Reader) (runs []*run, useless map[string]error) {
	useless = make(map[string]error)
	entries, err := os.ReadDir(x.dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			useless[x.dir] = err
		}
		return nil, useless
	}
	for _, e := range entries {
		path := filepath.Join(x.dir, e.Name())
		if !strings.HasSuffix(path, runSuffix) {
			useless[path] = errUnfinished
			continue
		}
		run, err := openRun(path)
		if err == nil {
			err = r.fits(run)
		}
		if err != nil {
			useless[path] = err
			continue
		}
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(a, b *run) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.last, a.last)) })
	kept := runs[:0]
	for _, run := range runs {
		if n := len(kept); n > 0 && run.first <= kept[n-1].last {
			useless[run.path] = errMerged
			continue
		}
		kept = append(kept, run)
	}
	return kept, useless
}

var (
	errUnfinished = errors.New("it was not finished")
	errMerged     = errors.New("another has its records")
	errNoRecord   = errors.New("its records are gone")
	errOther      = errors.New("its records are not those of the store")
)

// fits says why a run cannot be of r's store: the record at one of its ends is
// not there, or is of another time. Of a run that has its first records gone, the
// last is enough.
func (r *Reader) fits(run *run) error {
	var p page
	last, err := r.timeOf(run.last, &p)
	first, ferr := r.timeOf(run.first, &p)
	switch {
	case err == nil && last != run.lastTime || ferr == nil && first != run.firstTime:
		return errOther
	case errors.Is(err, errNoRecord):
		return errNoRecord
	case err != nil && ferr != nil:
		return err
	}
	return nil
}

// timeOf returns the time of a record, or errNoRecord if the store does not have it.
func (r *Reader) timeOf(seq uint64, p *page) (int64, error) {
	st, err := r.store()
	if err != nil {
		return 0, err
	}
	key, ok, err := r.previous(st, seq+1, nil, p)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, errNoRecord
	}
	if p.open(r.unpacker); p.err != nil {
		return 0, p.err
	}
	if p.header.last() < seq {
		return 0, errNoRecord
	}
	at := p.times()[seq-key]
	return at, p.err
}
