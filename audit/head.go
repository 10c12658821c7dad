package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
)

// The head file keeps, beside the store, the last sequence number, the number and
// the digest of the last segment that was committed; doc.go has its layout. It is written after each commit and not
// synced, so it may be behind the store but never ahead of it: a store that is
// behind its head file has lost commits, and no sequence number is given twice
// even when a store is replaced. A head file that cannot be read counts as none.
const (
	headFile  = "audit.head"
	headMagic = "WEIRHEAD"
	headSize  = len(headMagic) + 8 + 8 + 2*digestSize
)

type head struct {
	seq    uint64
	number uint64
	digest [digestSize]byte
}

func readHead(dir string) (h head) {
	b, err := os.ReadFile(filepath.Join(dir, headFile))
	if err != nil || len(b) != headSize || string(b[:8]) != headMagic {
		return head{}
	}
	if sha256.Sum256(b[:headSize-digestSize]) != [digestSize]byte(b[headSize-digestSize:]) {
		return head{}
	}
	return head{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), [digestSize]byte(b[24:])}
}

func (h head) bytes() []byte {
	b := append(make([]byte, 0, headSize), headMagic...)
	b = binary.BigEndian.AppendUint64(b, h.seq)
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = append(b, h.digest[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}
