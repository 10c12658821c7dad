package blocklist

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// intake is one list on its way into the matcher: which version of it is taken, and from where.
type intake struct {
	category *CategoryConfig
	config   *SourceConfig
	list     *List
	number   int // of its entries for every type, among the holders

	use  use
	src  source // how its file is read
	path string // the file, or UT1 directory, that is read
	size int64  // of path, roughly
	old  *List  // the version in force, from which the guard judges a new one; nil for none
	kept Kept   // what the store knows of it
	free bool   // the guard has no say: an operator wants this version

	copied *Copy // what path is a copy of; nil when it is the origin's own file
	err    error // why it could not be read

	said    uint8 // of the name at hand: whether the file and the version in force have it
	changes changes
}

// use says where the entries of a list come from.
type use uint8

const (
	fromFile use = iota
	fromOld      // from the lists in force
	fromNowhere
)

// intakesOf returns the lists of one source.
func (l *loader) intakesOf(c *CategoryConfig, cfg *SourceConfig) []*intake {
	if cfg.Remote() {
		return []*intake{l.remote(c, cfg)}
	}
	sources, err := resolve(cfg.From, l.Dir)
	if err == nil && cfg.Name != "" {
		if len(sources) > 1 {
			err = errors.New("has a name of its own, and leads to several lists; leave the name out")
			l.fail(c.Pos, "category %q: source %q: %v", c.Name, cfg.From, err)
			return nil
		}
		sources[0].name = cfg.Name
	}
	var all []*intake
	for _, src := range sources {
		src.format = cfg.Format
		in := l.intake(c, cfg, src.name)
		in.src, in.path = src, src.path
		l.local(in)
		all = append(all, in)
	}
	if err == nil {
		return all
	}
	// The lists that it led to before stay.
	if l.Old != nil {
		for _, old := range l.Old.lists {
			if old.Category == c.Name && old.from == cfg.From {
				in := l.intake(c, cfg, old.Name)
				l.fallBack(in, err)
				all = append(all, in)
			}
		}
	}
	if len(all) == 0 {
		in := l.intake(c, cfg, cfg.ListName())
		l.fallBack(in, err)
		all = append(all, in)
	}
	return all
}

func (l *loader) intake(c *CategoryConfig, cfg *SourceConfig, name string) *intake {
	in := &intake{category: c, config: cfg}
	in.list = &List{Name: name, Category: c.Name, Origin: OriginFile, Since: l.Now(), from: cfg.From}
	if l.Store != nil {
		in.kept = l.Store.Kept(name)
	}
	if l.Old != nil {
		for _, old := range l.Old.lists {
			if old.Category == c.Name && old.Name == name && !old.Missing {
				in.old = old
			}
		}
	}
	return in
}

// local decides about a list that is a local file.
func (l *loader) local(in *intake) {
	print, size, err := l.print(&in.src)
	in.size = size
	if err != nil {
		l.fallBack(in, err)
		return
	}
	in.list.print = print
	if old := in.old; old != nil && old.Kept == "" && print != "" && old.print == print && old.forced == in.src.format && in.settled() {
		l.takeOld(in, "")
		return
	}
	digest, err := digestOf(&in.src)
	if err != nil {
		l.fallBack(in, err)
		return
	}
	l.version(in, digest)
}

// remote decides about a list that is fetched.
func (l *loader) remote(c *CategoryConfig, cfg *SourceConfig) *intake {
	in := l.intake(c, cfg, cfg.ListName())
	in.list.Origin = OriginURL
	in.src = source{name: cfg.ListName(), format: cfg.Format}
	if strings.HasPrefix(cfg.From, "axfr://") {
		in.list.Origin = OriginTransfer
		in.src.format = "rpz"
	}
	latest := in.kept.Latest
	if latest == nil {
		latest = in.kept.InForce
	}
	if latest != nil && latest.File == "" && latest.Digest == in.kept.Refused { // its text went with the refusal
		l.version(in, latest.Digest)
		return in
	}
	if latest == nil || latest.File == "" {
		why := errors.New("was not fetched yet")
		if in.kept.Failure != "" {
			why = errors.New(in.kept.Failure)
		}
		l.fallBack(in, why)
		return in
	}
	in.path, in.size, in.copied = latest.File, latest.Bytes, latest
	l.version(in, latest.Digest)
	return in
}

// version decides whether the version with this digest, the origin's latest, is taken.
func (l *loader) version(in *intake, digest [32]byte) {
	k := &in.kept
	switch {
	case k.Refused == digest && k.InForce != nil && k.InForce.Digest != digest:
		l.stay(in, "the version of the source was rejected or rolled back")
	case in.old != nil && in.old.Digest == digest && in.old.forced == in.src.format && !in.src.ut1:
		l.takeOld(in, "")
	case k.Held != nil && k.Held.Digest == digest && k.Approved != digest:
		in.list.Held = &Held{Digest: digest, Entries: k.Held.Entries, Why: k.Why, Since: k.Held.Taken}
		l.stay(in, "held: "+k.Why)
	case in.old != nil && in.old.Held != nil && in.old.Held.Digest == digest && k.Approved != digest && k.Refused != digest:
		in.list.Held = in.old.Held // known from the compiled form alone
		l.stay(in, "held: "+in.old.Held.Why)
	default:
		in.use, in.free = fromFile, k.Approved == digest
	}
}

// settled says whether the version in force is the one that the store wants to be: it is not after a rollback.
func (in *intake) settled() bool {
	return in.old != nil && (in.kept.InForce == nil || in.kept.InForce.Digest == in.old.Digest)
}

// stay keeps the version that the store has in force, instead of the origin's latest.
func (l *loader) stay(in *intake, why string) {
	k := &in.kept
	switch {
	case in.settled():
		l.takeOld(in, why)
	case k.InForce != nil && k.InForce.File != "":
		l.takeCopy(in, k.InForce, why)
	default:
		in.use, in.list.Held = fromFile, nil // there is nothing to stay with
	}
}

// fallBack finds the entries of a list of which the origin gives nothing that can be used.
func (l *loader) fallBack(in *intake, err error) {
	k := &in.kept
	switch {
	case in.settled():
		l.takeOld(in, err.Error())
	case k.InForce != nil && k.InForce.File != "" && in.path != k.InForce.File:
		l.takeCopy(in, k.InForce, err.Error())
	case in.old != nil:
		l.takeOld(in, err.Error())
	default:
		in.use = fromNowhere
		in.list.Missing, in.list.Kept = true, err.Error()
		switch {
		case in.category.OnError == BlockAll:
			in.list.Kept += "; until it comes, rules that block or observe its category match every name"
			return
		case in.category.OnError == KeepLast && in.config.Remote():
			return
		}
		hint := ""
		if in.config.Remote() {
			hint = "; `weir lists refresh` fetches it"
		}
		l.fail(in.category.Pos, "category %q: source %q: %v%s", in.category.Name, in.list.Name, err, hint)
	}
}

// takeOld takes the entries from the lists in force; why says why not what the origin has now, if it is so.
func (l *loader) takeOld(in *intake, why string) {
	in.use = fromOld
	fresh := in.list
	list := *in.old
	list.Kept, list.Held, list.from = why, fresh.Held, fresh.from
	if why == "" {
		list.print = fresh.print
		if in.path != "" {
			list.Name, list.File = fresh.Name, in.path
			if in.src.ut1 {
				list.File = in.old.File
			}
		}
	} else if k := in.kept.InForce; k != nil && k.File != "" && k.Digest == list.Digest {
		list.File = k.File // where its lines can still be read
	}
	*fresh = list
}

// takeCopy takes the entries from the store's copy of a version.
func (l *loader) takeCopy(in *intake, from *Copy, why string) {
	in.use, in.free, in.path, in.size, in.copied = fromFile, true, from.File, from.Bytes, from
	in.list.Kept, in.list.print = why, ""
	if in.src.ut1 {
		in.src.ut1, in.src.format = false, formatUT1.name
	}
	if in.old != nil && in.old.Digest == from.Digest {
		in.old = nil
	}
}

// settledFor is how long a file must have been left alone before its times tell that it is the same.
const settledFor = 2 * time.Second

// print returns what tells without reading whether the files of a list are the same as before, "" when it is too soon to
// tell, and their size.
func (l *loader) print(src *source) (string, int64, error) {
	files := []string{src.path}
	if src.ut1 {
		entries, err := os.ReadDir(src.path)
		if err != nil {
			return "", 0, hinted(err)
		}
		files = files[:0]
		for _, e := range entries {
			files = append(files, filepath.Join(src.path, e.Name()))
		}
	}
	var print strings.Builder
	size := int64(0)
	sure := true
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return "", 0, hinted(err)
		}
		size += info.Size()
		sure = sure && l.Now().Sub(info.ModTime()) > settledFor
		fmt.Fprintf(&print, "%s %d %d %s\n", file, info.Size(), info.ModTime().UnixNano(), inode(file))
	}
	if !sure {
		return "", size, nil
	}
	return print.String(), size, nil
}

// digestOf returns the SHA-256 of the file of a list, as List.Digest has it.
func digestOf(src *source) (digest [32]byte, err error) {
	path := src.path
	if src.ut1 {
		path = filepath.Join(path, "domains")
	}
	file, err := os.Open(path)
	if src.ut1 && errors.Is(err, fs.ErrNotExist) {
		return digest, nil
	}
	if err != nil {
		return digest, hinted(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return digest, err
	}
	sum.Sum(digest[:0])
	return digest, nil
}
