package audit

import (
	"cmp"
	"errors"
)

// What of a pack is read when it is first asked for.
const (
	labelsPart = iota
	namesPart
	chainPart
	addrsPart
	textsPart
	askersPart
	queriesPart
	questionsPart
	allParts
)

// once reads a part of a pack unless it was read before.
func (s *shelf) once(part int, read func() error) error {
	if s.loaded[part] {
		return nil
	}
	err := read()
	s.loaded[part] = err == nil
	return err
}

// loadNames makes the block's names those of the pack; so loadAddrs its addresses, and
// loadTexts its texts and reasons. Those of a segment are there.
func (b *block) loadNames() error {
	if !b.header.packed {
		return nil
	}
	return b.shelf.once(namesPart, func() (err error) {
		if b.names, err = b.shelf.names.read(b.shelf, b.names[:0]); err == nil {
			b.shown = sizedZero(b.shown, len(b.names))
		}
		return err
	})
}

// loadChain makes the shelf find names one by one. The block's may then not be all.
func (b *block) loadChain() error {
	return b.shelf.once(chainPart, func() error { return b.shelf.names.chain(b.shelf) })
}

// nameThese makes sure that the block has these of its names, after loadChain.
func (b *block) nameThese(numbers ...uint32) (err error) {
	s := b.shelf
	if !b.header.packed || s.loaded[namesPart] {
		return nil
	}
	if n := len(s.names.whole); len(b.names) != n {
		b.names, b.shown = sizedZero(b.names, n), sizedZero(b.shown, n)
	}
	for _, n := range numbers {
		if b.names[n] == nil {
			if b.names[n], err = s.names.single(nil, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *block) loadAddrs() error {
	if !b.header.packed {
		return nil
	}
	return b.shelf.once(addrsPart, b.packedAddresses)
}

func (b *block) loadTexts() error {
	if !b.header.packed {
		return nil
	}
	return b.shelf.once(textsPart, b.packedTexts)
}

// loadAll loads all of that.
func (b *block) loadAll() error { return cmp.Or(b.loadNames(), b.loadAddrs(), b.loadTexts()) }

// askers reads which asker each query has, and which client each asker.
func (b *block) askers() error { return b.shelf.once(askersPart, b.shelf.readAskers) }

func (s *shelf) readAskers() (err error) {
	var next, clients uint32
	n := s.values(packClient)
	if s.asker, err = readRefs(s, packAsker, s.asker, &next, n); err != nil {
		return err
	}
	size := s.values(packClients)
	if s.client, err = readRefs(s, packClient, s.client, &clients, size); err != nil {
		return err
	}
	return errors.Join(used(packAsker, next, n), used(packClient, clients, size))
}

// queried reads which question each query has; questions reads the names and answers of each
// question, too.
func (b *block) queried() error { return b.shelf.once(queriesPart, b.shelf.readQueries) }

func (s *shelf) readQueries() (err error) {
	var next uint32
	n := s.values(packName)
	if s.question, err = readRefs(s, packQuestion, s.question, &next, n); err != nil {
		return err
	}
	return used(packQuestion, next, n)
}

func (b *block) questions() error { return b.shelf.once(questionsPart, b.shelf.readQuestions) }

func (s *shelf) readQuestions() (err error) {
	if err = s.once(queriesPart, s.readQueries); err != nil {
		return err
	}
	n := s.values(packName)
	if s.spans, err = s.measureRefs(n); err != nil {
		return err
	}
	names := s.values(packFresh)
	if s.name, err = readColumn(s, packName, s.name, uint64(names)); err != nil {
		return err
	}
	if s.numbers, err = readColumn(s, packAlias, s.numbers, uint64(names)); err != nil {
		return err
	}
	var answers uint32
	size, clients := s.values(packAnswers), uint32(s.values(packClients))
	if s.answers, err = readRefs(s, packAddr, s.answers, &answers, size); err != nil {
		return err
	}
	addrs := s.answers
	seen := seen{size: uint32(names)}
	aliases := s.numbers
	s.refs = s.refs[:0]
	failed := false
	resolve := func(v uint32) uint32 {
		switch {
		case v > seen.next || v == 0 && seen.next == seen.size:
			failed = true
			return 0
		case v == 0:
			seen.next++
			return seen.next - 1
		}
		return v - 1
	}
	for i := range s.name {
		s.name[i] = resolve(s.name[i])
		span := &s.spans[i]
		for _, v := range aliases[:span.aliases] {
			s.refs = append(s.refs, resolve(v))
		}
		for _, v := range addrs[:span.addrs] {
			s.refs = append(s.refs, clients+v)
		}
		aliases, addrs = aliases[span.aliases:], addrs[span.addrs:]
	}
	if failed || seen.next != seen.size || int(answers) != size {
		return errors.New("its dictionaries do not fit its questions")
	}
	return nil
}

// measureRefs reads how many aliases and addresses each of n questions has.
func (s *shelf) measureRefs(n int) (spans []refSpan, err error) {
	spans = sized(s.spans, n)
	if s.sizes, err = readColumn(s, packAliasCount, s.sizes, MaxAnswers); err != nil {
		return spans, err
	}
	aliases, addrs := 0, 0
	for i, v := range s.sizes {
		spans[i].aliases = v
		aliases += int(v)
	}
	if s.sizes, err = readColumn(s, packAddrCount, s.sizes, MaxAnswers); err != nil {
		return spans, err
	}
	at := uint32(0)
	for i, v := range s.sizes {
		spans[i].from, spans[i].addrs = at, v
		at += uint32(spans[i].aliases) + uint32(v)
		addrs += int(v)
	}
	return spans, errors.Join(s.fit(aliases, packAlias), s.fit(addrs, packAddr))
}
