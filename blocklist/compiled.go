package blocklist

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
)

// The compiled form is one file, written once and then only read:
//
//	nodes   as Matcher has them, with codePad octets behind
//	places  likewise
//	tags    64-bit words, little-endian
//	facts   JSON: values, sets, the code, and all that is known of lists
//	footer  footerSize octets, see below
//
// The footer ends with the SHA-256 of all that is before the digest itself. Who opens the file reads it once from its
// beginning to check that, and keeps tags and facts in memory; nodes and places are mapped. The file is not forced to
// disk: after a power cut it may be damaged, and is made anew from the lists.

const (
	compiledMagic   = "weirname"
	compiledVersion = 2
	// footerSize is that of: magic 8, version 4, zero 4, seed 16, octets of nodes, places, tags and facts 8 each, and
	// the digest 32.
	footerSize = 8 + 4 + 4 + 16 + 4*8 + sha256.Size
	maxFacts   = 1 << 28
)

// facts are what a compiled form says beside tags, places and nodes.
type facts struct {
	Names      int             `json:"names"`
	Groups     uint64          `json:"groups"`
	Depths     [2]uint64       `json:"depths"`
	Label      []uint8         `json:"label"` // lengths of the code's words
	Turn       []uint8         `json:"turn"`
	Endings    [][]byte        `json:"endings"`
	Values     [][2]uint32     `json:"values"`
	Named      []int           `json:"named"`
	Start      []uint32        `json:"start"` // of sets
	Members    []member        `json:"members"`
	Holders    []factsHolder   `json:"holders"`
	Networks   []factsNetwork  `json:"networks"`
	Lists      []factsList     `json:"lists"`
	Categories []factsCategory `json:"categories"`
}

type factsHolder struct {
	List  int      `json:"list"`
	Types []uint16 `json:"types,omitempty"`
	Not   bool     `json:"not"`
}

type factsNetwork struct {
	Holder    int          `json:"holder"`
	Prefix    netip.Prefix `json:"prefix"`
	Exception bool         `json:"exception,omitempty"`
}

type factsList struct {
	*List
	From   string `json:"from"`
	Forced string `json:"forced"`
	Print  string `json:"print"`
}

type factsCategory struct {
	Name  string `json:"name"`
	Names int    `json:"names"`
	Lists []int  `json:"lists"`
}

// compiledWriter writes a compiled form: first the nodes, as they come, then finish.
type compiledWriter struct {
	file *os.File
	sum  hash.Hash
	size int64
}

func (w *compiledWriter) Write(p []byte) (int, error) {
	if w.sum == nil {
		w.sum = sha256.New()
	}
	n, err := w.file.Write(p)
	w.sum.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// finish writes what follows the nodes, and has the matcher of x use the file.
func (w *compiledWriter) finish(x *Lists) error {
	m := x.matcher
	nodes := w.size
	text, err := json.Marshal(x.facts())
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 256<<10)
	_, _ = out.Write(m.places)
	var word [8]byte
	for _, t := range m.tags {
		binary.LittleEndian.PutUint64(word[:], t)
		_, _ = out.Write(word[:])
	}
	_, _ = out.Write(text)
	foot := make([]byte, 0, footerSize)
	foot = append(foot, compiledMagic...)
	foot = binary.LittleEndian.AppendUint32(foot, compiledVersion)
	foot = binary.LittleEndian.AppendUint32(foot, 0)
	for _, n := range []uint64{m.seed.root, m.seed.key, uint64(nodes), uint64(len(m.places)), 8 * uint64(len(m.tags)), uint64(len(text))} {
		foot = binary.LittleEndian.AppendUint64(foot, n)
	}
	_, _ = out.Write(foot)
	if err := out.Flush(); err != nil {
		return err
	}
	if _, err := w.file.Write(w.sum.Sum(nil)); err != nil {
		return err
	}
	return m.mapped(w.file, nodes, int64(len(m.places)))
}

// mapped has the matcher use the nodes and places of file.
func (m *Matcher) mapped(file *os.File, nodes, places int64) error {
	data, err := mapFile(file, nodes+places)
	if err != nil {
		return err
	}
	m.keep = &mapping{data}
	m.nodes, m.places = data[:nodes:nodes], data[nodes:nodes+places]
	runtime.AddCleanup(m, func(k *mapping) { unmapFile(k.data) }, m.keep)
	m.whole()
	return nil
}

// mapping is a part of a file in memory. It ends when its matcher is no longer referred to.
type mapping struct{ data []byte }

var errDamaged = errors.New("compiled names are damaged")

// openCompiled returns the lists of the compiled form at path, nil when there is none. An error says that it cannot be
// used.
func openCompiled(path string) (*Lists, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	x, err := readCompiled(file)
	if err != nil {
		return nil, fmt.Errorf("%s was not used: %w", path, err)
	}
	return x, nil
}

func readCompiled(file *os.File) (*Lists, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	var foot [footerSize]byte
	if info.Size() < footerSize {
		return nil, errDamaged
	}
	if _, err := file.ReadAt(foot[:], info.Size()-footerSize); err != nil {
		return nil, err
	}
	if string(foot[:8]) != compiledMagic {
		return nil, errors.New("is not a file of compiled names")
	}
	if v := binary.LittleEndian.Uint32(foot[8:]); v != compiledVersion {
		return nil, fmt.Errorf("is of version %d, not %d", v, compiledVersion)
	}
	number := func(i int) uint64 { return binary.LittleEndian.Uint64(foot[16+8*i:]) }
	nodes, places, tags, text := number(2), number(3), number(4), number(5)
	rest := uint64(info.Size()) - footerSize
	for _, n := range []uint64{nodes, places, tags, text} {
		if n > rest {
			return nil, errDamaged
		}
		rest -= n
	}
	if rest != 0 || text > maxFacts || tags%16 != 0 || nodes < codePad {
		return nil, errDamaged
	}

	sum := sha256.New()
	in := io.TeeReader(io.NewSectionReader(file, 0, info.Size()-sha256.Size), sum)
	buf := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(onlyWriter{io.Discard}, io.LimitReader(in, int64(nodes+places)), buf); err != nil {
		return nil, err
	}
	m := &Matcher{seed: seed{number(0), number(1)}}
	m.newTags(int(tags / 8))
	for at := 0; at < len(m.tags); {
		n := min(len(buf), 8*(len(m.tags)-at))
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return nil, err
		}
		for i := 0; i < n; i += 8 {
			m.tags[at] = binary.LittleEndian.Uint64(buf[i:])
			at++
		}
	}
	facts := make([]byte, text)
	if _, err := io.ReadFull(in, facts); err != nil {
		return nil, err
	}
	if _, err := io.Copy(onlyWriter{io.Discard}, in); err != nil {
		return nil, err
	}
	if !bytes.Equal(sum.Sum(nil), foot[footerSize-sha256.Size:]) {
		return nil, errDamaged
	}
	x, err := listsOf(m, facts, places)
	if err != nil {
		return nil, err
	}
	return x, m.mapped(file, int64(nodes), int64(places))
}

// onlyWriter hides other methods of a writer: then copying goes by the buffer given for it.
type onlyWriter struct{ io.Writer }

// facts returns what the compiled form says of x.
func (x *Lists) facts() *facts {
	m := x.matcher
	f := &facts{
		Names: m.names, Groups: m.groups, Depths: m.depths,
		Label: m.code.label.lengths, Turn: m.code.turn.lengths,
		Named: m.named, Start: m.sets.start, Members: m.sets.members,
	}
	for _, e := range m.code.endings {
		f.Endings = append(f.Endings, []byte(e))
	}
	for _, v := range m.values {
		f.Values = append(f.Values, [2]uint32{v.self, v.below})
	}
	for _, n := range x.nets {
		f.Networks = append(f.Networks, factsNetwork{n.list, n.prefix, n.exception})
	}
	place := map[*List]int{}
	for i, l := range x.lists {
		place[l] = i
		f.Lists = append(f.Lists, factsList{l, l.from, l.forced, l.print})
	}
	for _, h := range x.holders {
		i, ok := place[h.list]
		if !ok {
			i = -1 // of a file that could not be read: nothing has its number
		}
		f.Holders = append(f.Holders, factsHolder{i, h.part.types, h.part.not})
	}
	for _, c := range x.categories {
		fc := factsCategory{Name: c.Name, Names: c.Names}
		for _, l := range c.Lists {
			fc.Lists = append(fc.Lists, place[l])
		}
		f.Categories = append(f.Categories, fc)
	}
	return f
}

// listsOf completes the matcher m, which has its seed and tags, with what facts say. Nothing of it is trusted to fit
// together, though it has come whole from disk.
func listsOf(m *Matcher, text []byte, places uint64) (*Lists, error) {
	var f facts
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	var endings []string
	for _, e := range f.Endings {
		endings = append(endings, string(e))
	}
	var err error
	if m.code, err = codeOf(f.Label, f.Turn, endings); err != nil {
		return nil, err
	}
	m.names, m.named, m.groups, m.depths = f.Names, f.Named, f.Groups, f.Depths
	for d := range 128 {
		if m.has(d) {
			m.deep = d
		}
	}
	m.sets = sets{f.Start, f.Members}
	groups := uint64(len(m.tags) / 2)
	sound := m.groups > 0 && m.groups+1 < groups && places == placeSize*groups &&
		(m.tags[2*groups-4]|m.tags[2*groups-6])&spills == 0 &&
		len(f.Values) > 0 && len(f.Named) == len(f.Values) && len(f.Start) > 1 && f.Start[0] == 0 &&
		int(f.Start[len(f.Start)-1]) == len(f.Members) && !m.has(0)
	for i := 1; sound && i < len(f.Start); i++ {
		sound = f.Start[i-1] <= f.Start[i]
	}
	for _, v := range f.Values {
		sound = sound && int(v[0]&^exceptional) < m.sets.len() && int(v[1]&^exceptional) < m.sets.len()
		m.values = append(m.values, value{v[0], v[1]})
	}
	for _, member := range f.Members {
		sound = sound && member.list() < len(f.Holders) && f.Holders[member.list()].List >= 0
	}
	var nets []network
	for _, n := range f.Networks {
		sound = sound && n.Holder >= 0 && n.Holder < len(f.Holders) && f.Holders[n.Holder].List >= 0
		nets = append(nets, network{n.Holder, n.Prefix, n.Exception})
	}
	x := &Lists{matcher: m}
	sound = x.addNetworks(nets) == nil && sound
	for _, l := range f.Lists {
		if l.List == nil {
			return nil, errDamaged
		}
		l.from, l.forced, l.print = l.From, l.Forced, l.Print
		x.lists = append(x.lists, l.List)
	}
	for _, h := range f.Holders {
		var list *List
		if h.List >= 0 && h.List < len(x.lists) {
			list = x.lists[h.List]
		}
		sound = sound && h.List < len(x.lists)
		x.holders = append(x.holders, holder{list, newPart(h.Types, h.Not)})
	}
	for _, c := range f.Categories {
		category := Category{Name: c.Name, Names: c.Names}
		for _, i := range c.Lists {
			if i < 0 || i >= len(x.lists) {
				return nil, errDamaged
			}
			category.Lists = append(category.Lists, x.lists[i])
		}
		x.categories = append(x.categories, category)
	}
	if !sound {
		return nil, errDamaged
	}
	return x, nil
}
