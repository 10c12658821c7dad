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
	askingPart
	askersPart
	queriesPart
	namedPart
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

// askers reads which asker each query has, and asking which client each asker.
func (b *block) askers() error { return b.shelf.once(askersPart, b.shelf.readAskers) }

func (s *shelf) readAskers() (err error) {
	var next uint32
	n := s.values(packClient)
	if s.asker, err = readRefs(s, packAsker, s.asker, &next, n); err != nil {
		return err
	}
	return cmp.Or(used(packAsker, next, n), s.once(askingPart, s.readAsking))
}

func (b *block) asking() error { return b.shelf.once(askingPart, b.shelf.readAsking) }

func (s *shelf) readAsking() (err error) {
	var next uint32
	n := s.values(packClients)
	if s.client, err = readRefs(s, packClient, s.client, &next, n); err != nil {
		return err
	}
	return used(packClient, next, n)
}

// queried reads which question each query has; named reads the names of each question, too, and
// questions its answers besides.
func (b *block) queried() error { return b.shelf.once(queriesPart, b.shelf.readQueries) }

func (s *shelf) readQueries() (err error) {
	var next uint32
	n := s.values(packName)
	if s.question, err = readRefs(s, packQuestion, s.question, &next, n); err != nil {
		return err
	}
	return used(packQuestion, next, n)
}

func (b *block) named() error { return b.shelf.once(namedPart, b.shelf.readNamed) }

func (s *shelf) readNamed() (err error) {
	if err = s.once(queriesPart, s.readQueries); err != nil {
		return err
	}
	names := s.values(packFresh)
	if s.name, err = readColumn(s, packName, s.name, uint64(names)); err != nil {
		return err
	}
	if err = s.measureRefs(&s.aliases, packAliasCount, packAlias); err != nil {
		return err
	}
	if s.aliases.refs, err = readColumn(s, packAlias, s.aliases.refs, uint64(names)); err != nil {
		return err
	}
	var to numbering
	from := uint32(0)
	for i, v := range s.name {
		s.name[i] = to.number(v)
		for end := s.aliases.ends[i]; from < end; from++ {
			s.aliases.refs[from] = to.number(s.aliases.refs[from])
		}
	}
	if !to.within(names) || used(packName, to.next, names) != nil {
		clear(s.name)
		clear(s.aliases.refs)
		return errors.New("its names do not fit its questions")
	}
	return nil
}

func (b *block) questions() error { return b.shelf.once(questionsPart, b.shelf.readQuestions) }

func (s *shelf) readQuestions() (err error) {
	if err = s.once(namedPart, s.readNamed); err != nil {
		return err
	}
	if err = s.measureRefs(&s.answers, packAddrCount, packAddr); err != nil {
		return err
	}
	var next uint32
	size, clients := s.values(packAnswers), uint32(s.values(packClients))
	if s.answers.refs, err = readRefs(s, packAddr, s.answers.refs, &next, size); err != nil {
		return err
	}
	for i := range s.answers.refs {
		s.answers.refs[i] += clients
	}
	return used(packAddr, next, size)
}

// measureRefs reads how many references of a column each question has.
func (s *shelf) measureRefs(of *spread, counts, column int) (err error) {
	if s.sizes, err = readColumn(s, counts, s.sizes, MaxAnswers); err != nil {
		return err
	}
	of.ends = sized(of.ends, len(s.sizes))
	if s.columns[counts].width == 0 {
		clear(of.ends)
		return s.fit(0, column)
	}
	end := 0
	for i, v := range s.sizes {
		end += int(v)
		of.ends[i] = uint32(end)
	}
	return s.fit(end, column)
}
