package exceptions

import (
	"log/slog"
	"time"
)

// OnError says what Open does with a file that is damaged.
type OnError uint8

const (
	// StartFresh moves the damaged file aside and begins a new one, with no exception in force.
	StartFresh OnError = iota
	// Fail makes Open return a DamageError and touches nothing.
	Fail
)

// Config is how a Store is to be. All of it may be left out.
type Config struct {
	MaxDuration time.Duration // how far from now an exception may end; default 30 days
	Keep        time.Duration // how long those that ended are kept; default 400 days
	OnError     OnError

	Clock  Clock        // default SystemClock
	Logger *slog.Logger // default discards
}

const (
	defaultMaxDuration = 30 * 24 * time.Hour
	defaultKeep        = 400 * 24 * time.Hour

	maxInForce    = 10_000
	maxEnded      = 100_000 // kept; beyond that the oldest go before their time
	maxExtensions = 64

	maxName   = 1024 // octets, likewise below; a name of 255 octets written with escapes has no more
	maxWho    = 200
	maxReason = 500
	maxBy     = 200
)

func (c Config) withDefaults() Config {
	if c.MaxDuration <= 0 {
		c.MaxDuration = defaultMaxDuration
	}
	if c.Keep <= 0 {
		c.Keep = defaultKeep
	}
	if c.Clock == nil {
		c.Clock = SystemClock()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
