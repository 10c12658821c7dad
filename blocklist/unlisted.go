package blocklist

// Most answers lead to nothing that a list or a rule names, and are given many times. So facts remember, for the tables
// that were asked last, whether those know any of them; if not, no policy has anything to say on them, whoever asks.
// That is a fact about lists and no verdict: tables made anew are asked anew.

// sight stands for what tables were found to say of facts. Each has its own, so that facts keep no old tables in memory.
type sight struct{ _ byte }

// unlisted says that the tables know of nothing in f.
func (t *tables) unlisted(f *Facts) bool {
	switch f.sight.Load() {
	case t.none:
		return true
	case t.some:
		return false
	}
	s := t.some
	if t.knowNothing(f) {
		s = t.none
	}
	f.sight.Store(s)
	return s == t.none
}

// knowNothing says that no entry of any list or rule, exception or not, covers a name of f or holds an address, and that
// none is private.
func (t *tables) knowNothing(f *Facts) bool {
	var s suffixes
	for i := range len(f.Aliases) + len(f.Targets) {
		t.begin(&s, f.Name(i))
		if _, ok := t.next(&s); ok {
			return false
		}
	}
	for _, addr := range f.Addrs {
		if t.blocks.has(addr) && (private(addr) != 0 || t.lists.networks.find(addr) != 0 || t.addresses.find(addr) != 0) {
			return false
		}
	}
	return true
}
