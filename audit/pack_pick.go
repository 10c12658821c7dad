package audit

import "bytes"

// chooseByTables chooses of the rows from first on, and before end, the queries that have what
// the marks of names, aliases, answers and clients want, and what is hunted for: each question and
// each asker of the pack is looked at once.
func (p *page) chooseByTables(first, end int) {
	if first >= end {
		return
	}
	m, s := &p.marks, p.shelf
	byAnswer := m.answers != nil || m.prey != nil && m.prey.isAddr != nil
	byQuestion := m.names != nil || m.aliases != nil || m.prey != nil || byAnswer
	if byAnswer && !p.need(p.questions) || byQuestion && !p.need(p.named) || m.clients != nil && !p.need(p.askers) {
		return
	}
	var questions, askers []bool
	if byQuestion {
		s.wanted[0] = sized(s.wanted[0], len(s.name))
		questions = s.wanted[0]
		if m.names != nil {
			for i, n := range s.name {
				questions[i] = m.names[n]
			}
		} else {
			repeat(questions, true)
		}
		if m.aliases != nil || byAnswer || m.prey != nil {
			p.narrowQuestions(questions, byAnswer)
		}
	}
	if m.clients != nil {
		s.wanted[1] = sized(s.wanted[1], len(s.client))
		askers = s.wanted[1]
		for i, n := range s.client {
			askers[i] = m.clients[n]
		}
	}
	switch {
	case p.pure && askers == nil && questions != nil:
		p.chosen = appendMarked(p.chosen, s.question, questions, first, end)
		return
	case p.pure && questions == nil && askers != nil:
		p.chosen = appendMarked(p.chosen, s.asker, askers, first, end)
		return
	}
	q := bytes.Count(s.kinds[:first], []byte{byte(KindQuery)})
	for i := first; i < end; i++ {
		if !p.pure && p.kind[i] != KindQuery {
			continue
		}
		if (questions == nil || questions[s.question[q]]) && (askers == nil || askers[s.asker[q]]) {
			p.chosen = append(p.chosen, uint32(i))
		}
		q++
	}
}

// narrowQuestions leaves those questions that have what the marks of aliases and answers want, and
// what is hunted for.
func (p *page) narrowQuestions(questions []bool, byAnswer bool) {
	m, s := &p.marks, p.shelf
	for i, n := range s.name {
		if !questions[i] {
			continue
		}
		aliases := s.aliases.of(uint32(i))
		var answers []uint32
		if byAnswer {
			answers = s.answers.of(uint32(i))
		}
		questions[i] = (m.aliases == nil || anyOf(aliases, m.aliases)) &&
			(m.answers == nil || anyOf(answers, m.answers)) &&
			(m.prey == nil || m.prey.isName != nil && (m.prey.isName[n] || anyOf(aliases, m.prey.isName)) ||
				m.prey.isAddr != nil && anyOf(answers, m.prey.isAddr))
	}
}

// appendMarked appends the rows, of some that are all queries, whose entry in a table is marked.
func appendMarked(rows, entries []uint32, marked []bool, first, end int) []uint32 {
	for i, n := range entries[first:end] {
		if marked[n] {
			rows = append(rows, uint32(first+i))
		}
	}
	return rows
}

// anyOf says whether any of the numbers is marked.
func anyOf(numbers []uint32, marked []bool) bool {
	for _, n := range numbers {
		if marked[n] {
			return true
		}
	}
	return false
}

// isFew says that the chosen rows of a pack are queries, and so few that each is better looked
// up in the columns than all of these read.
func (p *page) isFew() bool {
	if len(p.chosen)*pickFew > int(p.header.count) {
		return false
	}
	kinds := p.kinds()
	for _, i := range p.chosen {
		if kinds[i] != KindQuery {
			return false
		}
	}
	return true
}

// pickPacked reads the chosen rows of a pack, which isFew, and no others: p.rows has a row for
// each of them. That the values of others are within their tables is then not known.
func (p *page) pickPacked() {
	s := p.shelf
	if !p.need(p.loadChain, p.loadTexts, p.asking, p.questions) {
		return
	}
	s.pick(p.chosen)
	if !p.need(p.fewTimes, s.fewAskers) {
		return
	}
	p.rows, p.refs = sized(p.rows, len(p.chosen)), p.refs[:0]
	addrs := s.numbers[:0]
	for k := range s.picked {
		question := s.picked[k].in[ofQuestion]
		client, name := s.client[s.picked[k].in[ofAsker]], s.name[question]
		aliases, answers := s.aliases.of(question), s.answers.of(question)
		p.rows[k] = row{
			kind: KindQuery, time: s.times[k], client: client, name: name,
			refs: uint32(len(p.refs)), aliasCount: uint8(len(aliases)), addrCount: uint8(len(answers)),
		}
		p.refs = append(append(p.refs, aliases...), answers...)
		p.failed(p.nameThese(name))
		p.failed(p.nameThese(aliases...))
		addrs = append(append(addrs, client), answers...)
	}
	s.numbers = addrs
	p.failed(p.addressThese(addrs))
	if p.few = true; p.err == nil {
		s.few = true
		p.err = p.packedQueries(true)
		s.few = false
	}
}
