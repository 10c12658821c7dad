package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"
)

// hitsBucket is the first bucket of the roll-up; those that took the place of a
// damaged one are hits.2, hits.3 and so on, the last of which is in use.
const hitsBucket = "hits"

// newestHits returns the name of the bucket in use, which need not exist yet.
func newestHits(tx *bbolt.Tx) []byte {
	newest := 1
	c := tx.Cursor()
	for k, _ := c.Seek([]byte(hitsBucket)); bytes.HasPrefix(k, []byte(hitsBucket)); k, _ = c.Next() {
		newest = max(newest, hitsNumber(k))
	}
	return hitsName(newest)
}

func hitsNumber(bucket []byte) int {
	n, err := strconv.Atoi(strings.TrimPrefix(string(bucket), hitsBucket+"."))
	if err != nil || n >= math.MaxInt32 {
		return 1
	}
	return n
}

func hitsName(n int) []byte {
	if n <= 1 {
		return []byte(hitsBucket)
	}
	return fmt.Appendf(nil, "%s.%d", hitsBucket, n)
}

func nextHits(bucket []byte) []byte { return hitsName(hitsNumber(bucket) + 1) }

// hoursOf calls f with the hours in one of the store's buckets and their values.
func (s *boltFile) hoursOf(b *bbolt.Bucket, f func(hour int64, value []byte) error) (done counted, err error) {
	if err := provePages(s.file, b); err != nil {
		return done, err
	}
	var before []byte
	found := false
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if before != nil && bytes.Compare(before, k) >= 0 {
			return done, errors.New("keys are not in order")
		}
		before = k
		switch {
		case string(k) == countedKey:
			found = true
			done, err = readCounted(v)
		case len(k) != 8 || binary.BigEndian.Uint64(k) > uint64(lastHour):
			err = fmt.Errorf("key %x cannot be that of an hour", k)
		default:
			err = f(int64(binary.BigEndian.Uint64(k)), v)
		}
		if err != nil {
			return done, err
		}
	}
	if !found {
		err = errors.New("nothing says which records were counted")
	}
	return done, err
}

// readHits returns the hours beginning with from.
func (s *boltFile) readHits(b *bbolt.Bucket, from int64) (done counted, hours []hourHits, err error) {
	done, err = s.hoursOf(b, func(hour int64, value []byte) error {
		if hour < from {
			return nil
		}
		h, err := readHour(hour, value)
		hours = append(hours, h)
		return err
	})
	return done, hours, err
}

// checkHits proves all values, and returns the hours that are not to be kept.
func (s *boltFile) checkHits(b *bbolt.Bucket, keep window) (done counted, drop []int64, err error) {
	done, err = s.hoursOf(b, func(hour int64, value []byte) error {
		if _, err := readHour(hour, value); err != nil {
			return err
		}
		if !keep.has(hour) {
			drop = append(drop, hour)
		}
		return nil
	})
	return done, drop, err
}

// provenHits is what a look at a store's roll-up found.
type provenHits struct {
	bucket []byte
	some   bool // the file has segments
	found  bool
	left   uint64  // records before it are not counted; 0: all are
	drop   []int64 // hours that are not to be kept
	last   uint64  // sequence number of the file's last record
	damage error   // why the bucket is of no use
}

// proveHits proves the roll-up in the bucket of that name; nil is the one in use.
// The error is one of the store itself.
func (s *boltFile) proveHits(bucket []byte, keep window) (p provenHits, err error) {
	const doing = "reading the hits of lists"
	err = s.view(doing, func(c *bbolt.Cursor) error {
		if k, v := c.Last(); k != nil {
			h, err := readHeader(v)
			if err != nil {
				return damaged(s.path, keyPlace(k), err)
			}
			p.some, p.last = true, h.last()
		}
		tx := c.Bucket().Tx()
		if p.bucket = bucket; bucket == nil {
			p.bucket = newestHits(tx)
		}
		p.damage = guard(s.path, doing, func() error {
			b := tx.Bucket(p.bucket)
			if p.found = b != nil; !p.found {
				return nil
			}
			done, drop, err := s.checkHits(b, keep)
			if err == nil && done.last != p.last {
				err = fmt.Errorf("they end at record %d, the store at record %d", done.last, p.last)
			}
			if err != nil {
				return damaged(s.path, "hits of lists", err)
			}
			p.left, p.drop = done.left, drop
			return nil
		})
		return nil
	})
	return p, err
}
