package cache

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"weir/resolver/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const savedAt = int64(1_700_000_000_000_000_000)

// kept is a cache with two answers, one of them negative and older.
func kept() *Cache {
	c := New(1 << 20)
	www := entry(key("\x03www\x07example\x00"), 0, 0)
	www.Reply = wire.Reply{An: 1, Tail: []byte("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"), TTLs: []uint16{6}, MinTTL: 60}
	www.Stored, www.Expires, www.Group, www.Upstream = 100*second, 160*second, "default", 1
	gone := entry("\x04gone\x07example\x00\x00\x1c\x00\x01\x03\x00\x00", 0, 0)
	gone.Reply = wire.Reply{Rcode: wire.RcodeNXDomain, AD: true}
	gone.Stored, gone.Expires, gone.Group, gone.Upstream = 90*second, 95*second, "corp", 2
	failed := entry(key("\x04lame\x07example\x00"), 0, 160)
	failed.Failed = true
	safe := entry("\x04safe\x07example\x00\x00\x01\x00\x01\x04\x00\x00", 0, 160)
	translated := entry("\x04four\x07example\x00\x00\x1c\x00\x01\x00\x00\x01", 0, 160)
	for _, e := range []*Entry{www, gone, failed, safe, translated} {
		c.Put(e)
	}
	return c
}

func savedOf(c *Cache) []Saved {
	all := c.Saved(110*second, savedAt, func(label uint32) string {
		return []string{"", "udp://192.0.2.53", "tcp://192.0.2.54"}[label]
	})
	if len(all) == 2 && all[0].Group != "corp" { // shards come in any order
		all[0], all[1] = all[1], all[0]
	}
	return all
}

// TestSavedFormat holds the file against its golden octets.
func TestSavedFormat(t *testing.T) {
	all := savedOf(kept())
	got := hex.Dump(Encode(savedAt, all))
	golden := filepath.Join("testdata", "saved.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the format has changed:\n%s\nwant\n%s", got, want)
	}
	at, back, err := Decode(Encode(savedAt, all))
	if err != nil || at != savedAt || !reflect.DeepEqual(back, all) {
		t.Errorf("read back %d, %+v, %v", at, back, err)
	}
	for i, want := range []string{"\x04gone\x07example\x00\x00\x1c\x00\x01\x03\x00\x00", key("\x03www\x07example\x00")} {
		if got := back[i].Key(); string(got) != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
	if age := savedAt - back[1].Stored; age != 10*second || back[1].Expires-savedAt != 50*second {
		t.Errorf("stored %d ns before, expires %d ns after", age, back[1].Expires-savedAt)
	}
}

// TestDamageIsFound wherever an octet is wrong or missing.
func TestDamageIsFound(t *testing.T) {
	good := Encode(savedAt, savedOf(kept()))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		if _, _, err := Decode(bad); err == nil {
			t.Errorf("octet %d is wrong: read all the same", i)
		}
		if _, _, err := Decode(good[:i]); err == nil {
			t.Errorf("cut after %d octets: read all the same", i)
		}
	}
	for _, c := range []struct {
		why    string
		damage func([]byte)
	}{
		{"version 2 of the format, this program reads version 1", func(b []byte) { b[11] = 2 }},
		{"damaged: record 3 of 3", func(b []byte) { b[23] = 3 }},
		{"octets behind the last record", func(b []byte) { b[23] = 1 }},
		{"impossible times", func(b []byte) { b[28] = 0x7f }},
		{"impossible times", func(b []byte) { b[28] = 0xff }},
		{"impossible times", func(b []byte) { b[36] = 0 }},
		{"damaged: record 1 of 2", func(b []byte) { b[24] = 0xff }},
		{"damaged: record 1 of 2", func(b []byte) { b[44] = 4 }},   // flags
		{"damaged: record 1 of 2", func(b []byte) { b[45] = 255 }}, // length of the group
	} {
		bad := bytes.Clone(good)
		c.damage(bad)
		binary.BigEndian.PutUint32(bad[len(bad)-4:], crc32.Checksum(bad[:len(bad)-4], castagnoli))
		if _, _, err := Decode(bad); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v, want %q", err, c.why)
		}
	}
}

// FuzzSaved gives Decode what it likes behind a right checksum: what it takes it
// writes again octet for octet.
func FuzzSaved(f *testing.F) {
	good := Encode(savedAt, savedOf(kept()))
	f.Add(good[:len(good)-savedTrailer])
	f.Add(Encode(0, nil)[:savedHeader])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := binary.BigEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
		at, all, err := Decode(data)
		if err != nil {
			return
		}
		if again := Encode(at, all); !bytes.Equal(again, data) {
			t.Errorf("% x, was % x", again, data)
		}
		for i := range all {
			k := all[i].Key()
			if n := len(k); n < wire.KeyExtra+1 || n > 255+wire.KeyExtra || k[n-wire.KeyExtra-1] != 0 {
				t.Errorf("key %q", k)
			}
		}
	})
}
