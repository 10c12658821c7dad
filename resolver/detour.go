package resolver

import (
	"weir/blocklist"
	"weir/resolver/cache"
	"weir/resolver/wire"
)

// detour is what stands between a question and the one that upstream is asked.
type detour struct {
	rewrite uint8  // the safe search host that stands in for the name, see blocklist.SafeHost; 0 is none
	dns64   *DNS64 // how the answer is translated; nil is not
}

// mark makes the key of q that of the answer by the detour.
func (by detour) mark(q *wire.Query) {
	if by.rewrite != 0 {
		q.Rewritten(by.rewrite)
	}
	if by.dns64 != nil {
		q.Translated(by.dns64.number)
	}
}

// made says whether e was got by the detour.
func (by detour) made(e *cache.Entry) bool {
	number := uint16(0)
	if by.dns64 != nil {
		number = by.dns64.number
	}
	return e.Rewrite() == by.rewrite && e.Translation() == number
}

// askedFor is the name by which upstream is asked for q: its own, or another.
func (by detour) askedFor(q *wire.Query) []byte {
	switch {
	case by.rewrite != 0:
		return blocklist.SafeHost(by.rewrite)
	case by.dns64 != nil && q.Type == wire.TypePTR:
		return by.dns64.reverse(q.Name())
	}
	return q.Name()
}
