package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// labelsOf returns where the labels of a wire name begin; ok is false for octets that are no
// name of labels and a root.
func labelsOf(name []byte, starts []int) (_ []int, ok bool) {
	for at := 0; at < len(name); at += 1 + int(name[at]) {
		if name[at] == 0 {
			return starts, at == len(name)-1
		}
		if name[at] > 63 {
			return starts, false
		}
		starts = append(starts, at)
	}
	return starts, false
}

// names appends the columns of names.
func (w *packWriter) names(names *dict) {
	var (
		labels, ends = newDict(), newDict()
		odd          []byte
		fresh        []uint8
		end, label   []uint32
		starts       []int
		ok           bool
	)
	for i := range names.ends {
		name := names.entry(uint32(i))
		if starts, ok = labelsOf(name, starts[:0]); !ok {
			odd = append(binary.AppendUvarint(odd, uint64(len(name))), name...)
			fresh, end = append(fresh, 0), append(end, 0)
			continue
		}
		at := 0 // of the labels, the first that is in an end that was there before
		was := uint32(1)
		for ; at < len(starts); at++ {
			if n, there := ends.find(name[starts[at]:]); there {
				was = n + 2
				break
			}
		}
		fresh, end = append(fresh, uint8(at)), append(end, was)
		for at--; at >= 0; at-- {
			ends.number(name[starts[at]:])
			label = append(label, uint32(labels.ref(name[starts[at]:][:1+name[starts[at]]])))
		}
	}
	appendColumn(w, packLabels, labels.arena)
	appendColumn(w, packOdd, odd)
	appendColumn(w, packFresh, fresh)
	appendColumn(w, packEnd, end)
	appendColumn(w, packLabel, label)
}

// A nameShelf is the memory that reading the names of packs takes.
type nameShelf struct {
	text   []byte   // of labels
	begins []uint32 // of labels in text, and where the last one ends
	odd    []byte
	fresh  []byte
	end    []uint32
	label  []uint32
	arena  []byte
	ends   []octetSpan // in arena
	bounds []uint32    // of names in arena: where each begins, and where the last one ends

	behind []uint32 // by label: of the end that begins with it, the one behind that; counted as in packEnd
	whole  []uint32 // by name: its end, counted so, or oddName and the place of an odd name
	odds   [][]byte
	depth  []uint8  // room for mark and may, by end
	hashes []uint64 // room for may, by label
	states []uint64 // likewise, by end
}

// An octetSpan is octets of an arena.
type octetSpan struct{ from, to uint32 }

var rootName = []byte{0}

// columns unpacks the columns of names.
func (n *nameShelf) columns(s *shelf) (err error) {
	if n.text, err = readColumn(s, packLabels, n.text, 0xff); err != nil {
		return err
	}
	n.begins = append(n.begins[:0], 0)
	for at := 0; at < len(n.text); {
		size := 1 + int(n.text[at])
		if size == 1 || size > 64 || size > len(n.text)-at {
			return errors.New("its labels are none")
		}
		at += size
		n.begins = append(n.begins, uint32(at))
	}
	if n.odd, err = readColumn(s, packOdd, n.odd, 0xff); err != nil {
		return err
	}
	if n.fresh, err = readColumn(s, packFresh, n.fresh, maxName); err != nil {
		return err
	}
	if n.end, err = readColumn(s, packEnd, n.end, uint64(s.values(packLabel))+1); err != nil {
		return err
	}
	if err := s.fit(len(n.fresh), packEnd); err != nil {
		return err
	}
	var next uint32
	labels := len(n.begins) - 1
	if n.label, err = readRefs(s, packLabel, n.label, &next, labels); err != nil {
		return err
	}
	return used(packLabel, next, labels)
}

// of returns a label, behind its length.
func (n *nameShelf) of(label uint32) []byte { return n.text[n.begins[label]:n.begins[label+1]] }

func (n *nameShelf) load(s *shelf) error {
	return s.once(labelsPart, func() error { return n.columns(s) })
}

// read returns the names of a pack, in the memory of names and its own.
func (s *nameShelf) read(columns *shelf, names [][]byte) ([][]byte, error) {
	if err := s.load(columns); err != nil {
		return names, err
	}
	// An end reaches from its label to the end of the name that first had it.
	arena, span, bounds := s.arena[:0], s.ends[:0], append(s.bounds[:0], 0)
	fresh, end := s.fresh, s.end
	left, c := s.label, cursor{b: s.odd}
	for i := range fresh {
		if i&(politeSmall-1) == politeSmall-1 {
			giveWay()
		}
		n := int(fresh[i])
		from := len(arena)
		switch {
		case n > len(left) || end[i] == 0 && n > 0 || end[i] > 1 && int(end[i]) >= len(span)+2:
			return names, errors.New("its names do not fit its labels")
		case end[i] == 0:
			name := c.bytes()
			if c.failed {
				return names, errors.New("its odd names are cut short")
			}
			arena = append(arena, name...)
		default:
			for k := n - 1; k >= 0; k-- {
				arena = append(arena, s.of(left[k])...)
			}
			rest := rootName
			if e := end[i]; e > 1 {
				rest = arena[span[e-2].from:span[e-2].to]
			}
			arena = append(arena, rest...)
			to := len(arena)
			for k, at := 0, to-len(rest); k < n; k++ {
				at -= len(s.of(left[k]))
				span = append(span, octetSpan{uint32(at), uint32(to)})
			}
			left = left[n:]
		}
		if len(arena)-from > maxName || len(arena) > maxPayload {
			return names, errors.New("its names are too long")
		}
		bounds = append(bounds, uint32(len(arena)))
	}
	s.arena, s.ends, s.bounds = arena, span, bounds
	if len(left) != 0 || len(c.b) != 0 {
		return names, errors.New("its names do not use all labels")
	}
	for i := range fresh {
		names = append(names, arena[bounds[i]:bounds[i+1]:bounds[i+1]])
	}
	return names, nil
}

// chain finds out of what labels the names of a pack are, of which single makes one. That is what
// takes less than read when few are asked for.
func (s *nameShelf) chain(columns *shelf) error {
	if err := s.load(columns); err != nil {
		return err
	}
	s.behind, s.whole, s.odds = sized(s.behind, len(s.label)), sized(s.whole, len(s.fresh)), s.odds[:0]
	links, c := 0, cursor{b: s.odd}
	for i, n := range s.fresh {
		if i&(politeSmall-1) == politeSmall-1 {
			giveWay()
		}
		end, to := s.end[i], links+int(n)
		if end == 0 && n == 0 {
			s.whole[i] = oddName | uint32(len(s.odds))
			if s.odds = append(s.odds, c.bytes()); c.failed {
				return errors.New("its odd names are cut short")
			}
			continue
		}
		if end == 0 || int(end) >= links+2 || to > len(s.behind) {
			return errors.New("its names do not fit its labels")
		}
		for ; links < to; links++ {
			s.behind[links] = end
			end = uint32(links) + 2
		}
		s.whole[i] = end
	}
	if links != len(s.label) || len(c.b) != 0 {
		return errors.New("its names do not use all labels")
	}
	return nil
}

const oddName = 1 << 31

// may calls see with the place, among how many, and the octets of each name that may be sought.
// The hash of an end goes on from that of the end behind it.
func (s *nameShelf) may(of *sought, see func(i, of int, name []byte)) (err error) {
	s.hashes = sized(s.hashes, len(s.begins)-1)
	for i := range s.hashes {
		s.hashes[i] = labelHash(s.of(uint32(i)))
	}
	s.states, s.depth = sized(s.states, 2+len(s.behind)), sized(s.depth, 2+len(s.behind))
	s.states[1], s.depth[1] = hashBegin, 0 // 1 is an end that may be
	if of.front.may(fold(hashBegin)) {
		s.depth[1] = 1
	}
	for i, behind := range s.behind {
		h, hit := onto(s.states[behind], s.hashes[s.label[i]]), uint8(0)
		if of.front.may(fold(h)) || of.below && s.depth[behind] != 0 {
			hit = 1
		}
		s.states[2+i], s.depth[2+i] = h, hit
	}
	var name []byte
	for i, w := range s.whole {
		if w < oddName && s.depth[w] == 0 {
			continue
		}
		if name, err = s.single(name[:0], uint32(i)); err != nil {
			return err
		}
		see(i, len(s.whole), name)
	}
	return nil
}

// single appends the name with that number.
func (s *nameShelf) single(name []byte, n uint32) ([]byte, error) {
	end := s.whole[n]
	if end >= oddName {
		return append(name, s.odds[end&^oddName]...), nil
	}
	from := len(name)
	for ; end > 1; end = s.behind[end-2] { // which is ever less
		if name = append(name, s.of(s.label[end-2])...); len(name)-from >= maxName {
			return nil, errors.New("its names are too long")
		}
	}
	return append(name, 0), nil
}

// mark marks the names that are zone, or with more than that below it, too, and says whether any is.
func (s *nameShelf) mark(zone []byte, more bool) (marks []bool, found bool) {
	starts, ok := labelsOf(zone, nil)
	marks = make([]bool, len(s.whole))
	same, under := uint8(len(starts)), uint8(len(starts)+1)
	// Of an end, how many labels of the zone it is; it may also be below all of them, or nothing of the kind.
	s.depth = sized(s.depth, 2+len(s.behind))
	s.depth[0], s.depth[1] = noDepth, 0
	for i, behind := range s.behind {
		at := s.depth[behind]
		switch {
		case at == noDepth: // nearly all
		case at >= same:
			at = under
		default:
			from := starts[same-1-at]
			if at++; !bytes.Equal(s.of(s.label[i]), zone[from:][:1+int(zone[from])]) {
				at = noDepth
			}
		}
		s.depth[2+i] = at
	}
	for i, w := range s.whole {
		if w >= oddName {
			name := s.odds[w&^oddName]
			marks[i] = bytes.Equal(name, zone) || more && below(name, zone)
		} else if at := s.depth[w]; at != noDepth {
			marks[i] = ok && (at == same || more && at == under)
		}
		found = found || marks[i]
	}
	return marks, found
}

const noDepth = 0xff
