package audit

import "errors"

// askers reads which asker each query has, and which client each asker.
func (b *block) askers() (err error) {
	s := b.shelf
	if s.loaded[0] {
		return nil
	}
	var next, clients uint32
	n := s.values(packClient)
	if s.asker, err = readRefs(s, packAsker, s.asker, &next, n); err != nil {
		return err
	}
	size := s.values(packClients)
	if s.client, err = readRefs(s, packClient, s.client, &clients, size); err != nil {
		return err
	}
	if err = errors.Join(used(packAsker, next, n), used(packClient, clients, size)); err != nil {
		return err
	}
	s.loaded[0] = true
	return nil
}

// questions reads which question each query has, and the names and answers of each question.
func (b *block) questions() (err error) {
	s := b.shelf
	if s.loaded[1] {
		return nil
	}
	var next uint32
	n := s.values(packName)
	if s.question, err = readRefs(s, packQuestion, s.question, &next, n); err != nil {
		return err
	}
	if err = used(packQuestion, next, n); err != nil {
		return err
	}
	if s.spans, err = s.measureRefs(n); err != nil {
		return err
	}
	names := len(b.names)
	if s.name, err = readColumn(s, packName, s.name, uint64(names)); err != nil {
		return err
	}
	if s.numbers, err = readColumn(s, packAlias, s.numbers, uint64(names)); err != nil {
		return err
	}
	var answers uint32
	size, clients := s.values(packAnswers), uint32(s.values(packClients))
	addrs, err := readRefs(s, packAddr, nil, &answers, size)
	if err != nil {
		return err
	}
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
	s.loaded[1] = true
	return nil
}

// measureRefs reads how many aliases and addresses each of n questions has.
func (s *shelf) measureRefs(n int) (spans []refSpan, err error) {
	spans = sized(s.spans, n)
	var counts []uint8
	if counts, err = readColumn(s, packAliasCount, counts, MaxAnswers); err != nil {
		return spans, err
	}
	aliases, addrs := 0, 0
	for i, v := range counts {
		spans[i].aliases = v
		aliases += int(v)
	}
	if counts, err = readColumn(s, packAddrCount, counts, MaxAnswers); err != nil {
		return spans, err
	}
	at := uint32(0)
	for i, v := range counts {
		spans[i].from, spans[i].addrs = at, v
		at += uint32(spans[i].aliases) + uint32(v)
		addrs += int(v)
	}
	return spans, errors.Join(s.fit(aliases, packAlias), s.fit(addrs, packAddr))
}
