package blocklist

// matcherLayout is the Matcher itself, in memory. The value of a name is the number of its list.
type matcherLayout struct{ m *Matcher }

func buildMatcherLayout(names [][]byte, value func(i int) uint32, s seed) layout {
	b := newBuilder(s)
	for i, name := range names {
		check(b.Add(int(value(i)), name, Self|Below, false))
	}
	return &matcherLayout{b.Build()}
}

func (l *matcherLayout) find(h uint64, suffix []byte) uint32 {
	if v := l.m.find(h, suffix); v != 0 {
		return uint32(l.m.sets.of(l.m.values[v].self)[0].list())
	}
	return 0
}

func (l *matcherLayout) cover(name []byte) uint32 {
	var space [8]hit
	hits := l.m.appendHits(space[:0], name)
	if len(hits) == 0 {
		return 0
	}
	return uint32(l.m.sets.of(hits[0].set)[0].list())
}

func (l *matcherLayout) hashSeed() seed { return l.m.seed }

func (l *matcherLayout) size() (memory, mapped int) { return l.m.Bytes(), l.m.MappedBytes() }

func (l *matcherLayout) close() {}
