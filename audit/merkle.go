package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
)

// The tree file keeps the hashes of the tree of segments (RFC 6962) in the order of
// golang.org/x/mod/sumdb/tlog, so that a proof needs no segment but its own, and old
// segments may go. It is not synced: what a power cut has kept from it is made again from
// the segments, while they are there, and whether it is right is what checkpoints say.
const (
	treeFile       = "audit.tree"
	treeMagic      = "WEIRTREE"
	treeHeaderSize = 32
)

// A merkleTree is an open tree file. Only the log's writer appends to it; it may be read
// meanwhile.
type merkleTree struct {
	file   *os.File
	before uint64 // segments of the chain before the first leaf
	size   int64  // leaves
}

// openMerkle opens the tree file in dir; fs.ErrNotExist says that there is none. What a
// crash has left at its end is cut off.
func openMerkle(dir string, readOnly bool) (*merkleTree, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	path := filepath.Join(dir, treeFile)
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("open audit tree: %w", err)
	}
	t := &merkleTree{file: f}
	if err = t.readHeader(path); err == nil {
		err = t.measure(path, readOnly)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

// createMerkle makes an empty tree for the segments after number before, in place of any
// that is there.
func createMerkle(dir string, before uint64) (*merkleTree, error) {
	b := append(make([]byte, 0, treeHeaderSize), treeMagic...)
	b = binary.BigEndian.AppendUint16(b, 1)
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, before)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
	if err := writeWhole(filepath.Join(dir, treeFile), b); err != nil {
		return nil, fmt.Errorf("make audit tree: %w", err)
	}
	return openMerkle(dir, false)
}

func (t *merkleTree) readHeader(path string) error {
	var b [treeHeaderSize]byte
	if _, err := t.file.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return fmt.Errorf("open audit tree: %w", err)
	}
	sum := binary.BigEndian.Uint32(b[treeHeaderSize-4:])
	switch {
	case string(b[:8]) != treeMagic || sum != crc32.Checksum(b[:treeHeaderSize-4], crcTable):
		return damaged(path, "its header", "it does not begin like a tree of segments")
	case binary.BigEndian.Uint16(b[8:]) != 1:
		return damaged(path, "its header", fmt.Sprintf("its format version is %d, this program reads 1", binary.BigEndian.Uint16(b[8:])))
	}
	t.before = binary.BigEndian.Uint64(b[16:])
	return nil
}

// holesWithin is how many octets at the end of the tree may be missing in its midst: those of
// some minutes, which the system has brought to disk by itself long since.
const holesWithin = 1 << 20

// cutHoles leaves out what is behind a hash of zeros. When the power is cut the file may be as long as it was
// to be, without what was written there.
func (t *merkleTree) cutHoles() error {
	end := tlog.StoredHashCount(t.size)
	from := max(0, end-holesWithin/tlog.HashSize)
	b := make([]byte, (end-from)*tlog.HashSize)
	if _, err := t.file.ReadAt(b, treeHeaderSize+from*tlog.HashSize); err != nil {
		return err
	}
	for i := from; i < end; i++ {
		if tlog.Hash(b[(i-from)*tlog.HashSize:]) == (tlog.Hash{}) {
			t.fit(i)
			break
		}
	}
	return nil
}

// fit sets the size to the greatest that has so many hashes.
func (t *merkleTree) fit(hashes int64) {
	t.size = 0
	for lo, hi := int64(0), hashes+1; lo < hi; {
		if mid := (lo + hi) / 2; tlog.StoredHashCount(mid) <= hashes {
			t.size, lo = mid, mid+1
		} else {
			hi = mid
		}
	}
}

// measure finds out how many leaves there are with all their hashes.
func (t *merkleTree) measure(path string, readOnly bool) error {
	info, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("open audit tree: %w", err)
	}
	t.fit((info.Size() - treeHeaderSize) / tlog.HashSize)
	if err := t.cutHoles(); err != nil {
		return fmt.Errorf("open audit tree %s: %w", path, err)
	}
	if whole := treeHeaderSize + tlog.StoredHashCount(t.size)*tlog.HashSize; !readOnly && whole != info.Size() {
		if err := t.file.Truncate(whole); err != nil {
			return fmt.Errorf("open audit tree %s: %w", path, err)
		}
	}
	return nil
}

// ReadHashes implements tlog.HashReader.
func (t *merkleTree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if _, err := t.file.ReadAt(all[i][:], treeHeaderSize+at*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("read audit tree: %w", err)
		}
	}
	return all, nil
}

// last is the number of the last segment in the tree.
func (t *merkleTree) last() uint64 { return t.before + uint64(t.size) }

// append adds the leaf of the next segment.
func (t *merkleTree) append(leaf hash) error {
	all, err := tlog.StoredHashesForRecordHash(t.size, tlog.Hash(leaf), t)
	if err != nil {
		return err
	}
	b := make([]byte, 0, len(all)*tlog.HashSize)
	for _, h := range all {
		b = append(b, h[:]...)
	}
	if _, err := t.file.WriteAt(b, treeHeaderSize+tlog.StoredHashCount(t.size)*tlog.HashSize); err != nil {
		return fmt.Errorf("write audit tree: %w", err)
	}
	t.size++
	return nil
}

// leaf returns the leaf of the segment with this number, which is in the tree.
func (t *merkleTree) leaf(number uint64) (hash, error) {
	all, err := t.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(number-t.before-1))})
	if err != nil {
		return hash{}, err
	}
	return hash(all[0]), nil
}

// root returns the root of the first size leaves.
func (t *merkleTree) root(size int64) (hash, error) {
	h, err := tlog.TreeHash(size, t)
	return hash(h), err
}

// retire closes the tree, which cannot go on: segments are missing behind it. It and
// the checkpoints that were made of it are put aside.
func (t *merkleTree) retire(dir, suffix string) error {
	errs := []error{t.file.Close()}
	for _, name := range []string{treeFile, checkpointFile} {
		path := filepath.Join(dir, name)
		if err := os.Rename(path, path+suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, syncDir(dir))...)
}
