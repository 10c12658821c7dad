package blocklist

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
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
