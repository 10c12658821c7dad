package blocklist

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layouts_*_test.go measures ways to lay out a set of wire names, each with a small value, against each other and the
// Matcher. BenchmarkLayouts says what each costs. Here are the names that they are measured with.

// namesFor returns n different names as block lists hold them, in wire form: first those of the domain lists in the
// file or folder that the environment variable WEIR_NAMES names, then made-up ones. The first names of a longer
// answer are those of a shorter one. They share memory and must not be changed.
func namesFor(t testing.TB, n int) [][]byte {
	t.Helper()
	g := newNamer(1)
	all := make([][]byte, 0, n)
	if path := os.Getenv("WEIR_NAMES"); path != "" {
		err := eachListed(path, func(name []byte) bool {
			if g.seen.add(g.hash(name)) {
				all = append(all, g.keep(name))
			}
			return len(all) < n
		})
		if err != nil {
			t.Fatal("WEIR_NAMES: ", err)
		}
	}
	for len(all) < n {
		all = append(all, g.next())
	}
	return all
}

// writeNames writes n names into a file, one a line.
func writeNames(t testing.TB, path string, n int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriterSize(f, 1<<16)
	for _, name := range namesFor(t, n) {
		_, _ = out.WriteString(NameString(name)) // Flush tells
		_ = out.WriteByte('\n')
	}
	if err := cmp.Or(out.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// eachListed calls do for each line that is a domain name of two labels or more in the files at path, until it
// returns false. Other lines, and so files in other formats, do not count.
func eachListed(path string, do func(name []byte) bool) error {
	return filepath.WalkDir(path, func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in := bufio.NewScanner(f)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			text := strings.TrimPrefix(strings.TrimSpace(in.Text()), "*.")
			if !strings.Contains(text, ".") || address([]byte(text)) {
				continue
			}
			if name, _, reason := appendName(nil, []byte(text), &strict); reason == "" && !do(name) {
				return fs.SkipAll
			}
		}
		return in.Err()
	})
}

// namer makes up names. Its figures are those of public block lists taken together: 21 octets and 2.6 labels a name,
// two in five below .com, one in four below a parent that it shares, few of those below a great many, 1.15 nodes in
// a tree of labels for each name. Labels are made of a vocabulary of made-up words, the first of them often, so that
// sorted names share about as much with their neighbours as real ones.
type namer struct {
	random  *rand.Rand
	zipf    *rand.Zipf
	words   []string
	tlds    []string // each as often as its share
	seen    hashSet
	chunk   []byte   // what keep fills
	parents [][]byte // shared ones, each as often as it was used
	plain   [][]byte // some names right below a public suffix
}

// Public suffixes that names are below, and how many of a thousand.
const tldShares = "com 398 tk 70 info 70 net 57 it 36 xyz 22 org 21 top 20 fr 18 pl 17 de 16 cc 8 co.cc 8 ru 15 site 11 " +
	"co.uk 11 cn 9 ninja 8 io 7 shop 7 co.jp 5 eu 5 nl 5 online 5 co 4 biz 4 ml 4 ga 4 bid 4 cf 4 me 3 app 3 pro 3 us 3 " +
	"club 3 space 3 gq 3 ca 3 win 3 in 3 click 3 com.au 3 sbs 2 live 2 com.br 2 vn 2 ch 2 buzz 2 es 2 xin 2 rest 2 at 2 " +
	"cz 2 tv 2 se 2 be 2 fun 2 dk 1 pw 1 website 1 link 1 ro 1 no 1 fi 1 gr 1 hu 1 tr 1 ir 1 kr 1 tw 1 id 1 mx 1 ar 1 " +
	"za 1 ua 1 by 1 kz 1 cloud 1 store 1 tech 1 life 1 world 1 today 1 work 1 icu 1 monster 1 bet 1 casino 1 loan 1 dev 1"

// Labels that stand before many names.
var commonLabels = strings.Fields("www www www www www www www www ns go proxy smetrics ads info metrics stats dns analytics ad " +
	"marketing www2 cdn tr node api track a tracking secure s adserver mail m img static")

func newNamer(number uint64) *namer {
	g := &namer{random: rand.New(rand.NewPCG(number, 0))}
	shares := strings.Fields(tldShares)
	for i := 0; i < len(shares); i += 2 {
		share, err := strconv.Atoi(shares[i+1])
		if err != nil {
			panic(err)
		}
		g.tlds = append(g.tlds, slices.Repeat(shares[i:i+1], share)...)
	}
	// The vocabulary is the same for all namers.
	vocabulary := rand.New(rand.NewPCG(0, 0))
	const consonants, vowels = "ttttnnnnssssrrrrlllddccmmppgghbbfvkwyzjx", "eeeeaaaaiiiooouu"
	for range 30_000 {
		var word []byte
		for range 1 + vocabulary.IntN(3) {
			word = append(word, consonants[vocabulary.IntN(len(consonants))], vowels[vocabulary.IntN(len(vowels))])
			if vocabulary.IntN(3) == 0 {
				word = append(word, consonants[vocabulary.IntN(len(consonants))])
			}
		}
		g.words = append(g.words, string(word))
	}
	g.zipf = rand.NewZipf(g.random, 1.05, 20, uint64(len(g.words)-1))
	return g
}

// next returns a new name.
func (g *namer) next() []byte {
	for {
		name := g.draw()
		if !g.seen.add(g.hash(name)) {
			continue
		}
		return g.keep(name)
	}
}

// draw returns a name, which may not be new.
func (g *namer) draw() []byte {
	switch p := g.random.IntN(100); {
	case p < 64:
		name := g.registrable()
		if g.random.IntN(8) == 0 {
			g.plain = append(g.plain, g.keep(name))
		}
		return name
	case p < 68:
		return prepend(g.label(), g.registrable())
	}
	// The more names a parent has, the more it gets.
	var parent []byte
	switch p := g.random.IntN(100); {
	case p >= 12 && len(g.parents) > 0:
		parent = g.parents[g.random.IntN(len(g.parents))]
	case p >= 5 && len(g.plain) > 0:
		parent = g.plain[g.random.IntN(len(g.plain))]
	default:
		parent = g.keep(g.registrable())
	}
	g.parents = append(g.parents, parent)
	name := prepend(g.label(), parent)
	for g.random.IntN(3) == 0 && len(name) < 150 {
		name = prepend(g.label(), name)
	}
	return name
}

// registrable returns a name right below a public suffix.
func (g *namer) registrable() []byte {
	length := 3 + g.random.IntN(9) + g.random.IntN(9)
	if g.random.IntN(20) == 0 {
		length += g.random.IntN(14)
	}
	tld := []byte{0}
	labels := strings.Split(g.tlds[g.random.IntN(len(g.tlds))], ".")
	for _, label := range slices.Backward(labels) {
		tld = prepend(label, tld)
	}
	return prepend(g.text(length), tld)
}

// label returns a label as it stands before a registrable name.
func (g *namer) label() string {
	switch p := g.random.IntN(100); {
	case p < 40:
		return commonLabels[g.random.IntN(len(commonLabels))]
	case p < 43: // a number of a customer or of a campaign
		return strconv.FormatUint(g.random.Uint64(), 16)
	}
	return g.text(3 + g.random.IntN(6) + g.random.IntN(7))
}

// text returns length octets of words, and some hyphens and digits.
func (g *namer) text(length int) string {
	text := make([]byte, 0, 48)
	hyphen := g.random.IntN(6) == 0
	for len(text) < length {
		if len(text) > 0 && hyphen && len(text)+1 < length {
			text = append(text, '-')
		}
		text = append(text, g.words[g.zipf.Uint64()]...)
	}
	text = text[:length]
	if g.random.IntN(7) == 0 {
		copy(text[max(0, length-3):], strconv.Itoa(1+g.random.IntN(999)))
	}
	if text[length-1] == '-' {
		text[length-1] = 'x'
	}
	return string(text)
}

// keep returns a copy of name beside those before it.
func (g *namer) keep(name []byte) []byte {
	if cap(g.chunk)-len(g.chunk) < len(name) {
		g.chunk = make([]byte, 0, 1<<20)
	}
	at := len(g.chunk)
	g.chunk = append(g.chunk, name...)
	return g.chunk[at:len(g.chunk):len(g.chunk)]
}

func (g *namer) hash(name []byte) uint64 { return layoutSeed.of(name) }

func prepend(label string, parent []byte) []byte {
	return append(append(append(make([]byte, 0, 1+len(label)+len(parent)), byte(len(label))), label...), parent...)
}

// layoutSeed makes runs alike.
var layoutSeed = seed{0x9e3779b97f4a7c15, 0xd1342543de82ef95}

func (s seed) of(name []byte) uint64 {
	var offs [128]uint8
	return s.name(name, &offs, labels(name, &offs))
}

// hashSet is a set of hashes. Two names of one hash are one in it, which takes a name from a million millions.
type hashSet struct {
	slots []uint64
	used  int
}

// add says whether h is new.
func (s *hashSet) add(h uint64) bool {
	if 4*s.used >= 3*len(s.slots) {
		old := s.slots
		s.slots, s.used = make([]uint64, max(1<<10, 2*len(old))), 0
		for _, h := range old {
			if h != 0 {
				s.add(h)
			}
		}
	}
	slot := s.slot(h)
	if s.slots[slot] != 0 {
		return false
	}
	s.slots[slot] = max(h, 1)
	s.used++
	return true
}

func (s *hashSet) has(h uint64) bool { return s.used > 0 && s.slots[s.slot(h)] != 0 }

func (s *hashSet) slot(h uint64) int {
	mask := uint64(len(s.slots) - 1)
	h = max(h, 1)
	slot := h & mask
	for s.slots[slot] != 0 && s.slots[slot] != h {
		slot = (slot + 1) & mask
	}
	return int(slot)
}

// wireNumber reads a number that a layout wrote with binary.AppendUvarint, one octet nearly always.
func wireNumber(from []byte) (v uint32, size int) {
	if from[0] < 0x80 {
		return uint32(from[0]), 1
	}
	long, size := binary.Uvarint(from)
	return uint32(long), size
}
