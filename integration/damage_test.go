package integration

import (
	"bytes"
	byteorder "encoding/binary"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	"go.etcd.io/bbolt"
)

// cmdDamage flips a bit in the middle of the segment that holds a record, as a
// disk would that nobody asked.
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, 2, "damage FOLDER SEQ")
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "audit-*.db"))
	ts.Check(err)
	seq, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	var segment []byte
	var file string
	for _, path := range files { // by their numbers, as the keys in them
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
		ts.Check(err)
		ts.Check(db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("segments")).ForEach(func(k, v []byte) error {
				if byteorder.BigEndian.Uint64(k) <= seq { // keys are first sequence numbers and come in order
					segment, file = bytes.Clone(v), path
				}
				return nil
			})
		}))
		ts.Check(db.Close())
	}
	if segment == nil {
		ts.Fatalf("%s holds no record %d", args[0], seq)
	}
	data, err := os.ReadFile(file)
	ts.Check(err)
	at := bytes.Index(data, segment)
	if at < 0 {
		ts.Fatalf("the segment of record %d is not in one piece", seq)
	}
	data[at+len(segment)/2] ^= 1
	ts.Check(os.WriteFile(file, data, 0o600))
}
