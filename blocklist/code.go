package blocklist

import (
	"cmp"
	"errors"
	"slices"
)

// The code in which a matcher keeps its names: a Huffman code made for them, about half of their octets. A name is
// written from its left as symbols of two alphabets. Between labels stands how it goes on: a label of so many octets,
// the root, or one of the endings that many of the names share ("com.", "blogspot.com."). Within a label stand its
// octets. The longest ending that fits is always taken, so each name has one form.
//
// Bits fill octets from the lowest; the first bit of a code word is its lowest. Reading looks up as many bits as the
// longest word has in a table, so it takes one step for each symbol.
type code struct {
	label   alphabet // octets of labels
	turn    alphabet // 0 is the root, 1 to 63 a label of that length, from firstEnding on the endings
	endings []string // wire names
	ending  map[string]uint16
}

// firstEnding is the symbol of the first ending among the turns.
const firstEnding = 64

// Limits of the code's tables: bits of the longest words, and endings.
const (
	labelBits  = 12
	turnBits   = 14
	maxEndings = 1024
)

// codeSample holds the names that a code is made for. They come in the order of their hashes, so the first are as good
// as any.
type codeSample struct{ names []byte }

// maxSample bounds a sample, in octets.
const maxSample = 1 << 20

// see takes one name, until there are enough.
func (s *codeSample) see(name []byte) {
	if len(s.names) < maxSample {
		s.names = append(s.names, name...)
	}
}

// code makes the code for names like those seen.
func (s *codeSample) code() *code {
	count := map[string]int{}
	for at := 0; at < len(s.names); at++ { // at a whole name; behind it, at its root
		for at += 1 + int(s.names[at]); s.names[at] != 0; at += 1 + int(s.names[at]) {
			end := at
			for s.names[end] != 0 {
				end += 1 + int(s.names[end])
			}
			count[string(s.names[at:end+1])]++
		}
	}
	var endings []string
	for suffix, n := range count {
		if n >= 4 {
			endings = append(endings, suffix)
		}
	}
	slices.SortFunc(endings, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b)) })
	c := &code{endings: slices.Clone(endings[:min(len(endings), maxEndings)])}
	c.index()

	turns := make([]uint64, firstEnding+len(c.endings))
	octets := make([]uint64, 256)
	for at := 0; at < len(s.names); at++ {
		covered := false
		for ; s.names[at] != 0; at += 1 + int(s.names[at]) {
			if covered {
				continue
			}
			end := at
			for s.names[end] != 0 {
				end += 1 + int(s.names[end])
			}
			if e, ok := c.ending[string(s.names[at:end+1])]; ok {
				turns[e]++
				covered = true
				continue
			}
			turns[s.names[at]]++
			for _, o := range s.names[at+1 : at+1+int(s.names[at])] {
				octets[o]++
			}
		}
		if !covered {
			turns[0]++
		}
	}
	c.turn, c.label = newAlphabet(turns, turnBits), newAlphabet(octets, labelBits)
	return c
}

// codeOf makes the code that lengths and endings, taken from a file, describe.
func codeOf(label, turn []uint8, endings []string) (*code, error) {
	if len(label) != 256 || len(turn) != firstEnding+len(endings) || len(endings) > maxEndings {
		return nil, errCode
	}
	c := &code{endings: endings}
	var offs [128]uint8
	for _, e := range endings {
		if labels([]byte(e), &offs) < 1 {
			return nil, errors.New("an ending is no wire name")
		}
	}
	c.index()
	var err error
	if c.label, err = alphabetOf(label, labelBits); err != nil {
		return nil, err
	}
	c.turn, err = alphabetOf(turn, turnBits)
	return c, err
}

func (c *code) index() {
	c.ending = make(map[string]uint16, len(c.endings))
	for i, e := range c.endings {
		c.ending[e] = uint16(firstEnding + i)
	}
}

// bytes returns the memory that the code takes.
func (c *code) bytes() int {
	n := 0
	for _, a := range []*alphabet{&c.label, &c.turn} {
		n += len(a.lengths) + 2*len(a.words) + 2*len(a.table)
	}
	for _, e := range c.endings {
		n += 2*len(e) + 48 // in its slice and its map
	}
	return n
}

// name writes a wire name.
func (w *bitWriter) name(c *code, name []byte) {
	for off := 0; ; {
		n := int(name[off])
		symbol := uint16(n)
		if n == 0 {
		} else if e, ok := c.ending[string(name[off:])]; ok {
			symbol = e
		}
		w.put(uint64(c.turn.words[symbol]), uint(c.turn.lengths[symbol]))
		if n == 0 || symbol >= firstEnding {
			return
		}
		for _, o := range name[off+1 : off+1+n] {
			w.put(uint64(c.label.words[o]), uint(c.label.lengths[o]))
		}
		off += 1 + n
	}
}

// matches reads one name and says whether it is want, a wire name. When it is not, the reader may stand anywhere. What is
// expected tells how many bits to compare, so that no word has to be read before the next one.
func (r *bitReader) matches(c *code, want []byte) bool {
	for off := 0; ; {
		n := int(want[off])
		w, length := r.window(), c.turn.lengths[n]
		if w&(1<<length-1) != uint64(c.turn.words[n]) {
			e := c.turn.table[w&c.turn.mask]
			r.pos += uint64(e & 15)
			symbol := int(e >> 4)
			return symbol >= firstEnding && string(want[off:]) == c.endings[symbol-firstEnding]
		}
		r.pos += uint64(length)
		if n == 0 {
			return true
		}
		label := want[off+1 : off+1+n]
		off += 1 + n
		for len(label) > 0 {
			w, wrong := r.window(), uint64(0)
			for range min(4, len(label)) { // four words of twelve bits fit a window
				length := c.label.lengths[label[0]]
				wrong |= (w ^ uint64(c.label.words[label[0]])) & (1<<length - 1)
				w >>= length
				r.pos += uint64(length)
				label = label[1:]
			}
			if wrong != 0 {
				return false
			}
		}
	}
}

// skip passes over one name. Damaged data is passed over somehow, in bounded time.
func (r *bitReader) skip(c *code) {
	for range maxName {
		e := c.turn.table[r.window()&c.turn.mask]
		r.pos += uint64(e & 15)
		symbol := int(e >> 4)
		if symbol >= firstEnding || symbol == 0 {
			return
		}
		for n := symbol; n > 0; {
			w := r.window()
			for range min(4, n) { // four words of twelve bits fit a window
				e := c.label.table[w&c.label.mask]
				w >>= e & 15
				r.pos += uint64(e & 15)
				n--
			}
		}
	}
}

// appendName reads one name and appends it to dst. ok is false when the bits are no wire name.
func (r *bitReader) appendName(c *code, dst []byte) (name []byte, ok bool) {
	start := len(dst)
	for len(dst)-start < maxName {
		e := c.turn.table[r.window()&c.turn.mask]
		r.pos += uint64(e & 15)
		symbol := int(e >> 4)
		if symbol >= firstEnding {
			dst = append(dst, c.endings[symbol-firstEnding]...)
			return dst, len(dst)-start <= maxName
		}
		dst = append(dst, byte(symbol))
		if symbol == 0 {
			return dst, true
		}
		for range symbol {
			e := c.label.table[r.window()&c.label.mask]
			r.pos += uint64(e & 15)
			dst = append(dst, byte(e>>4))
		}
	}
	return dst, false
}
