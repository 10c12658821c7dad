package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// bbolt believes what its pages say of themselves: one octet that is wrong can
// make a write allocate gigabytes, or free the pages of others. So the pages of
// the roll-up are proven past it, from the file. Their layout, in native order:
//
//	page    its number (8), flags (2): 1 branch, 2 leaf; elements (2), pages that it goes on over (4)
//	branch  each: where its key is, from here (4), the key's length (4), number of the child page (8)
//	leaf    each: flags (4), where its key is, from here (4), the key's length (4), the value's (4)
//	        then the keys, with their values, without gaps
const (
	pageHead    = 16
	pageElement = 16
	branchFlag  = 1
	leafFlag    = 2

	maxPage  = 5 * maxHour // octets: only a leaf of up to four values is larger than one page
	maxDepth = 8
)

// provePages proves the tree of the bucket in a store's file.
func provePages(file io.ReaderAt, b *bbolt.Bucket) error {
	root := uint64(b.Root())
	if root == 0 {
		return nil // the bucket is still so small that it is a value in the page of another
	}
	tx := b.Tx()
	t := tree{file: file, size: tx.DB().Info().PageSize, end: tx.Size()}
	return t.page(root, nil, nil, 0)
}

type tree struct {
	file io.ReaderAt
	size int   // of a page
	end  int64 // of the file's pages
}

// page proves a page and all below it. Their keys must not be less than from, and
// less than before, unless these are nil.
func (t *tree) page(id uint64, from, before []byte, depth int) error {
	content, err := t.read(id)
	if err == nil && depth > maxDepth {
		err = errors.New("it lies too deep")
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	ne := binary.NativeEndian
	leaf, count := ne.Uint16(content[8:]) == leafFlag, int(ne.Uint16(content[10:]))
	type element struct {
		key   []byte
		child uint64
	}
	elements := make([]element, 0, min(count, t.size/pageElement))
	at := pageHead + count*pageElement // where the next key must be
	for i := range count {
		here := pageHead + i*pageElement
		if here+pageElement > len(content) {
			return fmt.Errorf("page %d: its elements are cut short", id)
		}
		e := content[here:][:pageElement]
		var pos, key, value uint32
		var child uint64
		if leaf {
			pos, key, value = ne.Uint32(e[4:]), ne.Uint32(e[8:]), ne.Uint32(e[12:])
			if ne.Uint32(e) != 0 {
				return fmt.Errorf("page %d: it holds another bucket", id)
			}
		} else {
			pos, key, child = ne.Uint32(e), ne.Uint32(e[4:]), ne.Uint64(e[8:])
		}
		if int64(pos) != int64(at-here) || key == 0 || int64(at)+int64(key)+int64(value) > int64(len(content)) {
			return fmt.Errorf("page %d: element %d is not where it should be", id, i)
		}
		elements = append(elements, element{content[at : at+int(key)], child})
		at += int(key) + int(value)
	}
	if len(content)-at >= t.size {
		return fmt.Errorf("page %d: it is larger than what it holds", id)
	}
	for i, e := range elements {
		next := before
		if i+1 < len(elements) {
			next = elements[i+1].key
		}
		if bytes.Compare(e.key, from) < 0 || next != nil && bytes.Compare(e.key, next) >= 0 {
			return fmt.Errorf("page %d: keys are not in order", id)
		}
		if leaf {
			continue
		}
		if err := t.page(e.child, e.key, next, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// read returns a page with those that it goes on over.
func (t *tree) read(id uint64) ([]byte, error) {
	if id < 2 || id >= uint64(t.end)/uint64(t.size) {
		return nil, errors.New("there is no such page")
	}
	head := make([]byte, pageHead)
	at := int64(id) * int64(t.size)
	if _, err := t.file.ReadAt(head, at); err != nil {
		return nil, err
	}
	ne := binary.NativeEndian
	flags, count, more := ne.Uint16(head[8:]), ne.Uint16(head[10:]), ne.Uint32(head[12:])
	switch {
	case ne.Uint64(head) != id:
		return nil, errors.New("it says that it is another")
	case flags != branchFlag && flags != leafFlag || count == 0:
		return nil, errors.New("it is neither a branch nor a leaf")
	case int64(more)*int64(t.size) > maxPage:
		return nil, errors.New("it says that it is larger than any can be")
	}
	content := make([]byte, (int(more)+1)*t.size)
	_, err := t.file.ReadAt(content, at)
	return content, err
}
