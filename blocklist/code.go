package blocklist

import (
	"cmp"
	"encoding/binary"
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

// alphabet is one canonical Huffman code (RFC 1951 §3.2.2).
type alphabet struct {
	lengths []uint8  // bits of each symbol's word
	words   []uint16 // of each symbol, the first bit lowest
	table   []uint16 // by the next bits: symbol << 4 | length of its word
	mask    uint64   // of as many bits as index table
}

// newAlphabet makes the alphabet of symbols that occur so often, with words of at most limit bits. Every symbol gets a
// word. There must be two symbols or more, and no more than fit.
func newAlphabet(counts []uint64, limit int) alphabet {
	counts = slices.Clone(counts)
	for i := range counts {
		counts[i]++
	}
	for {
		lengths := huffmanLengths(counts)
		if int(slices.Max(lengths)) <= limit {
			a, _ := alphabetOf(lengths, limit) // lengths are those of a tree
			return a
		}
		for i := range counts { // flatter counts make a flatter tree
			counts[i] = counts[i]/2 + 1
		}
	}
}

// huffmanLengths returns the length of each symbol's word in a Huffman code.
func huffmanLengths(counts []uint64) []uint8 {
	type tree struct {
		count       uint64
		left, right int // nodes below; -1 for a leaf
	}
	n := len(counts)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(counts[a], counts[b]), a-b) })
	nodes := make([]tree, 0, 2*n)
	for _, symbol := range order {
		nodes = append(nodes, tree{counts[symbol], -1, -1})
	}
	leaf, inner := 0, n // the lightest not yet taken of each kind: both are in order of weight
	take := func() int {
		if leaf < n && (inner == len(nodes) || nodes[leaf].count <= nodes[inner].count) {
			leaf++
			return leaf - 1
		}
		inner++
		return inner - 1
	}
	for range n - 1 {
		a, b := take(), take()
		nodes = append(nodes, tree{nodes[a].count + nodes[b].count, a, b})
	}
	depth := make([]uint8, len(nodes))
	lengths := make([]uint8, n)
	for i := len(nodes) - 1; i >= 0; i-- {
		if t := nodes[i]; t.left >= 0 {
			depth[t.left], depth[t.right] = depth[i]+1, depth[i]+1
		} else {
			lengths[order[i]] = depth[i]
		}
	}
	return lengths
}

var errCode = errors.New("code lengths are none of a complete code")

// alphabetOf makes the alphabet whose words have these lengths.
func alphabetOf(lengths []uint8, limit int) (alphabet, error) {
	longest := 0
	var of [16]int // symbols of each length
	for _, n := range lengths {
		if n == 0 || int(n) > limit {
			return alphabet{}, errCode
		}
		of[n]++
		longest = max(longest, int(n))
	}
	var next [17]int
	for n, word := 1, 0; n <= longest; n++ {
		word = (word + of[n-1]) << 1
		next[n] = word
		if n == longest && word+of[n] != 1<<n {
			return alphabet{}, errCode
		}
	}
	a := alphabet{
		lengths: lengths, words: make([]uint16, len(lengths)),
		table: make([]uint16, 1<<longest), mask: 1<<longest - 1,
	}
	for symbol, n := range lengths {
		word := 0
		for i, w := 0, next[n]; i < int(n); i++ {
			word = word<<1 | w>>i&1
		}
		next[n]++
		a.words[symbol] = uint16(word)
		for at := word; at < len(a.table); at += 1 << n {
			a.table[at] = uint16(symbol)<<4 | uint16(n)
		}
	}
	return a, nil
}

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

// bitWriter gathers bits to octets.
type bitWriter struct {
	out  []byte
	bits uint64
	n    uint
}

func (w *bitWriter) put(word uint64, n uint) {
	w.bits |= word << w.n
	w.n += n
	for w.n >= 32 {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(w.bits))
		w.bits >>= 32
		w.n -= 32
	}
}

// align fills up the octet that is begun.
func (w *bitWriter) align() {
	for ; w.n > 0; w.n -= min(8, w.n) {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
	w.bits = 0
}

// number writes v in groups of three bits and one that says whether another follows.
func (w *bitWriter) number(v uint32) {
	for v >= 8 {
		w.put(uint64(v&7|8), 4)
		v >>= 3
	}
	w.put(uint64(v), 4)
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

// codePad is how many octets must follow the last one of written bits, for the reader's loads.
const codePad = 8

// bitReader reads what a bitWriter has written. Past the end of its octets it reads zeros, and no octet outside.
type bitReader struct {
	in  []byte
	pos uint64 // in bits
}

// window returns the bits that follow, at least 57 of them.
func (r *bitReader) window() uint64 {
	at := r.pos >> 3
	if at+8 > uint64(len(r.in)) {
		return 0
	}
	return binary.LittleEndian.Uint64(r.in[at:]) >> (r.pos & 7)
}

// align goes on to the next whole octet.
func (r *bitReader) align() { r.pos = (r.pos + 7) &^ 7 }

func (r *bitReader) number() uint32 {
	w := r.window()
	v := uint32(0)
	for shift := 0; shift < 32; shift += 3 {
		v |= uint32(w&7) << shift
		r.pos += 4
		if w&8 == 0 {
			break
		}
		w >>= 4
	}
	return v
}

// matches reads one name and says whether it is want, a wire name. When it is not, the reader may stand anywhere.
func (r *bitReader) matches(c *code, want []byte) bool {
	for off := 0; ; {
		e := c.turn.table[r.window()&c.turn.mask]
		r.pos += uint64(e & 15)
		symbol := int(e >> 4)
		if symbol >= firstEnding {
			return string(want[off:]) == c.endings[symbol-firstEnding]
		}
		if symbol != int(want[off]) {
			return false
		}
		if symbol == 0 {
			return true
		}
		for _, o := range want[off+1 : off+1+symbol] {
			e := c.label.table[r.window()&c.label.mask]
			r.pos += uint64(e & 15)
			if byte(e>>4) != o {
				return false
			}
		}
		off += 1 + symbol
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
