package blocklist

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// LoadConfig says what Load reads, and where it keeps what it makes of it.
type LoadConfig struct {
	Categories []CategoryConfig
	Dir        string // where relative sources begin

	// State is the folder of the compiled form and of temporary files. Empty keeps all in memory.
	State string
	// ReadOnly leaves State and Store as they are, for those who look beside a running server.
	ReadOnly bool
	// Store has the copies of lists. nil is none: then remote lists are missing.
	Store *Store
	// Old are the lists in force, whose entries serve for files that have not changed. nil takes the compiled form.
	Old *Lists
	// Policies are those whose allow rules the change guard minds.
	Policies []PolicyConfig
	// Workers is how many lists are read at a time; 0 is one. Each takes a few MiB.
	Workers int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Load reads the lists of all categories and compiles them. What has not changed since Old, or since the compiled form
// was written, is taken from there and not read again. Nothing on disk is in force before Commit.
//
// A list that cannot be read, or that the change guard holds, stays as it was, which its List says. All mistakes of the
// configuration are reported at once, joined, each a *ConfigError: sources that do not exist, or hold no list, and have
// no earlier version; categories without sources, and names given twice.
func Load(ctx context.Context, cfg LoadConfig) (*Lists, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &loader{LoadConfig: cfg}
	defer l.close()
	trouble := "" // with the compiled form
	if l.Old == nil && l.State != "" {
		old, err := openCompiled(l.compiled())
		if err != nil {
			trouble = err.Error()
		}
		l.Old = old
	}
	l.seed, l.guarded = randomSeed(), guardedBy(l.Policies)
	if l.Old != nil {
		l.seed = l.Old.matcher.seed // hashes agree only under one
	}
	for i := range l.Categories {
		l.category(&l.Categories[i], l.Categories[:i])
	}
	if err := l.read(ctx); err != nil {
		return nil, fmt.Errorf("load lists: %w", err)
	}
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	if l.unchanged() {
		return l.same(), nil
	}
	x, err := l.build(ctx, trouble)
	if errors.Is(err, errDamaged) && cfg.Old != nil { // its file was cut short: the lists themselves are still there
		cfg.Old = nil
		return Load(ctx, cfg)
	}
	return x, err
}

// loader is the work of one Load.
type loader struct {
	LoadConfig
	seed    seed
	intakes []*intake
	all     []Category
	errs    []error
	cramped bool // there is no room for temporary files

	mu      sync.Mutex // guards what follows while lists are read
	holders []holder
	takers  []*intake // by the number of a holder what its list comes from
	nets    []network
	sorters []*sorter

	guarded  guarded // the names that policies allow
	kept     []saying
	compared []*intake
}

func (l *loader) compiled() string { return filepath.Join(l.State, "names") }

func (l *loader) fail(pos, format string, args ...any) {
	l.errs = append(l.errs, &ConfigError{Pos: pos, What: fmt.Sprintf(format, args...)})
}

// category decides for each list of one category where its entries come from. Each file counts once: a union is not
// changed by naming a list twice.
func (l *loader) category(c *CategoryConfig, before []CategoryConfig) {
	if c.Name == "" {
		l.fail(c.Pos, "category without a name")
	}
	if slices.ContainsFunc(before, func(other CategoryConfig) bool { return other.Name == c.Name }) {
		l.fail(c.Pos, "second category named %q", c.Name)
		return
	}
	if len(c.Sources) == 0 {
		l.fail(c.Pos, "category %q has no sources", c.Name)
	}
	l.all = append(l.all, Category{Name: c.Name, NeverExcept: c.NeverExcept})
	read := map[string]bool{}
	for i := range c.Sources {
		for _, in := range l.intakesOf(c, &c.Sources[i]) {
			if in.path != "" {
				file, err := filepath.EvalSymlinks(in.path)
				if err == nil && read[file] {
					continue
				}
				read[file] = true
			}
			l.number(in)
			l.intakes = append(l.intakes, in)
		}
	}
}

// number gives a list its number.
func (l *loader) number(in *intake) {
	in.number = len(l.holders)
	l.holders = append(l.holders, holder{in.list, everyType})
	l.takers = append(l.takers, in)
}

// read reads the files of the lists that are taken from files.
func (l *loader) read(ctx context.Context) error {
	work := make(chan *intake)
	var wait sync.WaitGroup
	for range max(1, l.Workers) {
		s := &sorter{dir: l.scratch(), limit: runMemory, ahead: l.Workers > 1}
		l.sorters = append(l.sorters, s)
		wait.Go(func() {
			for in := range work {
				in.err = l.readList(ctx, in, s)
			}
		})
	}
	// The longest first: then no worker is left with one at the end.
	order := slices.Clone(l.intakes)
	slices.SortStableFunc(order, func(a, b *intake) int { return int(b.size>>10 - a.size>>10) })
	for _, in := range order {
		if in.use == fromFile {
			work <- in
		}
	}
	close(work)
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, in := range l.intakes {
		if in.err == nil {
			continue
		}
		// What was read of it must not count: the list begins anew, under another number.
		spoilt := in.list
		in.list = &List{Name: spoilt.Name, Category: spoilt.Category, Origin: spoilt.Origin, Since: spoilt.Since, from: spoilt.from}
		l.number(in)
		l.fallBack(in, in.err)
		if in.use != fromFile {
			continue
		}
		if err := l.readList(ctx, in, l.sorters[0]); err != nil {
			l.fail(in.category.Pos, "category %q: source %q: %v; its copy: %v", in.category.Name, in.list.Name, in.err, err)
		}
	}
	return nil
}

// scratch returns the folder for temporary files, "" for none.
func (l *loader) scratch() string {
	if l.ReadOnly || l.cramped {
		return ""
	}
	return l.State
}

// readList reads one list into a sorter.
func (l *loader) readList(ctx context.Context, in *intake, s *sorter) error {
	parts := []int{in.number}
	r := newReader(in.list, func(_ int, part uint16, name []byte, scope Scope, exception bool) error {
		for int(part) >= len(parts) {
			parts = append(parts, l.partNumber(in, in.list.parts[len(parts)-1]))
		}
		var offs [128]uint8
		n := labels(name, &offs)
		if s.full() {
			return errFull
		}
		s.add(l.seed.name(name, &offs, n), newSaying(parts[part], scope, exception), name)
		return nil
	})
	r.network = func(_ int, prefix netip.Prefix, exception bool) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.nets = append(l.nets, network{in.number, prefix, exception})
		return nil
	}
	src := in.src
	src.path, in.list.forced = in.path, in.src.format
	err := readSource(ctx, src, r)
	in.list.Mentions = in.list.Entries
	if c := in.copied; c != nil { // which may be packed in another way
		in.list.Digest, in.list.Bytes, in.list.Modified, in.list.Since = c.Digest, c.Bytes, c.Modified, c.Taken
	}
	return err
}

// partNumber gives a number to the entries of a list that are for some types only.
func (l *loader) partNumber(in *intake, p part) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, h := range l.holders {
		if h.list == in.list && h.part.equal(p) {
			return n
		}
	}
	l.holders, l.takers = append(l.holders, holder{in.list, p}), append(l.takers, in)
	return len(l.holders) - 1
}

func (l *loader) close() {
	for _, s := range l.sorters {
		s.close()
	}
}
