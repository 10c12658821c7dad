package blocklist

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"slices"
	"syscall"
)

// sortedNames is a file of names, mapped into memory: first the offsets of its blocks, four octets each, then the
// blocks. Names stand sorted in reverse, the label of the top level first, each label after its length octet. A block
// holds sortedBlock names, the last one perhaps fewer; a name is what it shares with the one before in its block, one
// octet, how many octets follow, one octet, those octets, and its value as a uvarint.
type sortedNames struct {
	file  []byte
	first int      // offset of the first block
	order []uint32 // of the names that it was made of; for its maker
}

const sortedBlock = 16

// reversed appends the labels of name, last label first, without the root.
func reversed(dst, name []byte, offs *[128]uint8, n int) []byte {
	for d := n - 1; d >= 0; d-- {
		dst = append(dst, name[offs[d]:offs[d+1]]...)
	}
	return dst
}

func writeSorted(names [][]byte, value func(i int) uint32) *sortedNames {
	s := &sortedNames{order: make([]uint32, len(names))}
	size := 0
	for _, name := range names {
		size += len(name) - 1
	}
	all, ends := make([]byte, 0, size), make([]uint32, len(names)+1)
	type key struct {
		begin  uint64 // of the reversed name: the number of its top level and what follows that
		number uint32
	}
	keys := make([]key, len(names))
	tops := topLevels(names)
	var offs [128]uint8
	for i, name := range names {
		n := labels(name, &offs)
		all = reversed(all, name, &offs, n)
		ends[i+1] = uint32(len(all))
		var begin [8]byte
		at := ends[i] + 1 + uint32(all[ends[i]])
		binary.BigEndian.PutUint16(begin[:], uint16(tops[string(all[ends[i]:at])]))
		copy(begin[2:], all[at:])
		keys[i] = key{binary.BigEndian.Uint64(begin[:]), uint32(i)}
	}
	of := func(i uint32) []byte { return all[ends[i]:ends[i+1]] }
	slices.SortFunc(keys, func(a, b key) int {
		if c := cmp.Compare(a.begin, b.begin); c != 0 {
			return c
		}
		return bytes.Compare(of(a.number), of(b.number))
	})

	blocks := (len(names) + sortedBlock - 1) / sortedBlock
	index := make([]byte, 4*blocks)
	f, err := os.CreateTemp("", "weir-layout-")
	check(err)
	defer f.Close()
	check(os.Remove(f.Name())) // the mapping keeps it
	_, err = f.Write(index)
	check(err)
	out := bufio.NewWriterSize(f, 1<<20)
	var entry, before []byte
	end := 0
	for k, key := range keys {
		s.order[k] = key.number
		name, shared := of(key.number), 0
		if k%sortedBlock == 0 {
			binary.LittleEndian.PutUint32(index[4*(k/sortedBlock):], uint32(end))
		} else {
			for shared < min(len(name), len(before)) && name[shared] == before[shared] {
				shared++
			}
		}
		entry = append(entry[:0], byte(shared), byte(len(name)-shared))
		entry = append(entry, name[shared:]...)
		entry = binary.AppendUvarint(entry, uint64(value(int(key.number))))
		_, _ = out.Write(entry) // Flush tells
		end, before = end+len(entry), name
	}
	check(out.Flush())
	_, err = f.WriteAt(index, 0)
	check(err)
	s.first = len(index)
	if end > 0 {
		s.file, err = syscall.Mmap(int(f.Fd()), 0, s.first+end, syscall.PROT_READ, syscall.MAP_SHARED)
		check(err)
	}
	return s
}

// topLevels numbers the last labels of all names, with their length octets, in their order.
func topLevels(names [][]byte) map[string]int {
	number := map[string]int{}
	var offs [128]uint8
	for _, name := range names {
		n := labels(name, &offs)
		if label := name[offs[n-1]:offs[n]]; number[string(label)] == 0 {
			number[string(label)] = 1
		}
	}
	sorted := make([]string, 0, len(number))
	for label := range number {
		sorted = append(sorted, label)
	}
	if len(sorted) > 1<<16 {
		panic("more top levels than a key has room for")
	}
	slices.Sort(sorted)
	for i, label := range sorted {
		number[label] = i
	}
	return number
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func (s *sortedNames) blocks() int { return s.first / 4 }

// find returns the value of the name, if it is in that block.
func (s *sortedNames) find(block uint64, name []byte) uint32 {
	if block >= uint64(s.blocks()) {
		return 0
	}
	var offs [128]uint8
	var space [maxName]byte
	wanted := reversed(space[:0], name, &offs, labels(name, &offs))
	at := s.first + int(binary.LittleEndian.Uint32(s.file[4*block:]))
	// Of the names so far all are less than wanted, and the last one shares equal octets with it.
	equal := 0
	for range sortedBlock {
		if at == len(s.file) {
			return 0
		}
		shared, length := int(s.file[at]), int(s.file[at+1])
		rest := s.file[at+2 : at+2+length]
		v, size := wireNumber(s.file[at+2+length:])
		at += 2 + length + size
		switch {
		case shared > equal:
			continue // it differs from wanted where the one before did
		case shared < equal:
			return 0 // it is greater
		}
		same := 0
		for same < min(length, len(wanted)-equal) && rest[same] == wanted[equal+same] {
			same++
		}
		if same == length && equal+same == len(wanted) {
			return v
		}
		equal += same
	}
	return 0
}

func (s *sortedNames) close() {
	if s.file != nil {
		check(syscall.Munmap(s.file))
		s.file = nil
	}
}
