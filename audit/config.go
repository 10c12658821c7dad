package audit

import (
	"log/slog"
	"time"
)

// OnFull says what the server does while the log cannot take events.
type OnFull uint8

const (
	// Serve answers queries; what the log could not take is counted and recorded as a gap.
	Serve OnFull = iota
	// Refuse lets Log.Refusing be true, so that the server turns queries away.
	Refuse
)

// OnError says what happens when the store on disk turns out to be damaged.
type OnError uint8

const (
	// StartFresh moves the damaged file aside and goes on with a new one, which says so in its first records.
	StartFresh OnError = iota
	// Fail returns the damage from Open or Run and touches nothing.
	Fail
)

// Config is what Open needs. Only Dir must be set.
type Config struct {
	Dir string // folder of the store; made if missing

	// Interval is the longest time from an event to its commit on disk, given a
	// disk that commits within a quarter of it. Default 200ms.
	Interval time.Duration

	// BeforeAnswer lets Settle wait until what was recorded is on disk. A commit then
	// begins as soon as somebody waits, and takes all that came while the one before
	// it was under way.
	BeforeAnswer bool

	// Block is how long records gather in a block before it is committed to the
	// store, unless it is full before. Until then they are on disk in the
	// write-ahead file. Larger blocks take less room. Default 10s; below zero commits
	// at every interval.
	Block time.Duration

	// Period is what one file of the store is for. Default Day.
	Period Period

	// Keep is how long records are kept, and KeepSize how many octets of files and of their index; zero is
	// for ever, and any number. What is beyond is removed, a file at a time.
	Keep     time.Duration
	KeepSize int64

	SlabBytes int // size of one slab, in bytes; default 256 KiB, at least 8 KiB
	Slabs     int // number of slabs; default 128, at least 4. Together they bound what waits for the disk

	// Memory is a folder in memory, like /dev/shm, for records that are not on disk yet:
	// it must outlive the process. Where it has no room, or if it is empty, they are in
	// Dir, and a disk that stalls keeps Record waiting too.
	Memory string

	OnFull  OnFull
	OnError OnError

	Privacy ClientPrivacy // what is kept of who asked
	Exclude Exclude       // queries that are counted and not recorded

	Witnesses []Witness // get each checkpoint

	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default discards
}

const (
	defaultInterval  = 200 * time.Millisecond
	defaultBlock     = 10 * time.Second
	defaultSlabBytes = 256 << 10
	defaultSlabs     = 128     // 32 MiB, which only a disk that stalls makes resident: about a second of full load
	minSlabBytes     = 8 << 10 // more than any one event needs
	minSlabs         = 4
)

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = defaultInterval
	}
	if c.Block == 0 {
		c.Block = defaultBlock
	}
	if c.SlabBytes == 0 {
		c.SlabBytes = defaultSlabBytes
	}
	if c.Slabs == 0 {
		c.Slabs = defaultSlabs
	}
	c.Privacy = c.Privacy.withDefaults()
	c.SlabBytes = max(c.SlabBytes, minSlabBytes) &^ 3
	c.Slabs = max(c.Slabs, minSlabs)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
