package blocklist

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

var packingNames = []string{"gzip", "zstd", "xz"}

// pack compresses text, in several members or frames when it has several parts.
func pack(t testing.TB, packing string, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, part := range parts {
		var w io.WriteCloser
		var err error
		switch packing {
		case "gzip":
			w = gzip.NewWriter(&b)
		case "zstd":
			w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		case "xz":
			w, err = xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&b)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// hostsText is a hosts list of n names that does not compress to nothing.
func hostsText(n int) string {
	var b strings.Builder
	for i := range n {
		hash := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		fmt.Fprintf(&b, "0.0.0.0 %x.example\n", hash[:20])
	}
	return b.String()
}

func TestCompressedLists(t *testing.T) {
	text := hostsText(4000)
	plain, entries, err := readEntries([]byte(text), nil)
	if err != nil || plain.Format != "hosts" || plain.Entries != 4000 {
		t.Fatalf("%v: %+v", err, plain)
	}
	for _, packing := range packingNames {
		for _, parts := range [][]string{{text}, {text[:1000], "", text[1000:]}} {
			packed := pack(t, packing, parts...)
			dir := lay(t, map[string]string{"list": string(packed), "ut1/domains": string(packed)})
			lists := load(t, dir, CategoryConfig{Name: "a", Sources: Sources("list")})
			l := lists.All()[0]
			if l.Packing != packing || l.Format != "hosts" || l.Entries != 4000 || l.Lines != 4000 ||
				l.Digest != sha256.Sum256(packed) || l.Bytes != int64(len(packed)) {
				t.Errorf("%s in %d parts: %+v", packing, len(parts), l)
			}
			for _, at := range []int{0, 2999, 3999} {
				_, entry, _ := strings.Cut(entries[at], " ")
				if line, err := lists.Locate(l, entry); err != nil || line != at+1 {
					t.Errorf("%s: %s is located at %d, %v; want line %d", packing, entry, line, err, at+1)
				}
			}
		}
	}
}

// Whatever is wrong with a compressed list, none of its names is used, and the error says where it is wrong.
func TestDamagedCompressedLists(t *testing.T) {
	text := hostsText(3000)
	dir := t.TempDir()
	file := filepath.Join(dir, "list")
	try := func(data []byte, want ...string) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		lists, err := Load(context.Background(), LoadConfig{Categories: []CategoryConfig{{Name: "a", Pos: "c:1", Sources: Sources("list")}}, Dir: dir})
		if lists != nil || err == nil {
			t.Fatalf("loaded; want an error with %q", want)
		}
		for _, w := range append(want, `c:1: category "a": source "list": `) {
			if !strings.Contains(err.Error(), w) {
				t.Fatalf("%v; want %q", err, w)
			}
		}
	}
	for _, packing := range packingNames {
		whole := pack(t, packing, text)
		for cut := 5; cut < len(whole); cut += 1 + len(whole)/50 {
			try(whole[:cut], fmt.Sprintf("is %s data that is cut off at octet %d; fetch it again", packing, cut))
		}
		try(whole[:len(whole)-1], fmt.Sprintf("cut off at octet %d", len(whole)-1), "(in line ")
		for at := len(whole) - 3; at > len(whole)/2; at -= len(whole) / 9 {
			broken := bytes.Clone(whole)
			broken[at] ^= 0x55
			try(broken, packing+" data")
		}
		try(append(bytes.Clone(whole), "<html>"...), packing+" data")
		try(pack(t, packing, string(whole)), "is "+packing+" data inside compressed data and no list; unpack it once")
		try(pack(t, packing, "<html>"), "is a web page and no list")
		try(pack(t, packing, "domains\x00"+strings.Repeat("\x00", 249)+"ustar"+strings.Repeat("\x00", 600)), "is a tar archive and no list; unpack it first")
	}
	try([]byte("\x1f\x8b"), "cut off at octet 2")
	try([]byte("\xfd7zXZ\x00"), "cut off at octet 6")
	try([]byte("BZh91AY"), "is bzip2 data and no list; unpack it first")
}

func TestUnpackingIsBounded(t *testing.T) {
	for _, packing := range packingNames {
		packed := pack(t, packing, strings.Repeat("a.example\n", 1000))
		for limit, want := range map[int64]string{9999: "more than 9999 octets", 10_000: ""} {
			in := &countingReader{ctx: context.Background(), from: bytes.NewReader(packed)}
			text, _, stop, err := unpack(context.Background(), in, limit)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, text)
			stop()
			if want == "" && (err != nil || n != limit) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: limit %d: %d octets, %v", packing, limit, n, err)
			}
		}
	}
	// A frame that asks for a window of 1 GiB is refused before it gets it.
	huge := append([]byte("\x28\xb5\x2f\xfd\x00\xa0"), "\x01\x00\x00"...)
	in := &countingReader{ctx: context.Background(), from: bytes.NewReader(huge)}
	text, _, stop, err := unpack(context.Background(), in, maxUnpacked)
	if err == nil {
		_, err = io.Copy(io.Discard, text)
		stop()
	}
	if err == nil || !strings.Contains(err.Error(), "takes more than 128 MiB") {
		t.Error(err)
	}
}

func TestUnpackingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	in := &countingReader{ctx: ctx, from: bytes.NewReader(pack(t, "gzip", strings.Repeat("a", 1<<20)))}
	text, _, stop, err := unpack(ctx, in, maxUnpacked)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	cancel()
	if _, err := io.Copy(io.Discard, text); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// failing gives an error of the disk after its text.
type failing struct{ io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

func TestErrorOfTheDiskIsNotThatOfTheData(t *testing.T) {
	packed := pack(t, "zstd", hostsText(3000))
	in := &countingReader{ctx: context.Background(), from: failing{bytes.NewReader(packed[:len(packed)/2])}}
	text, _, stop, err := unpack(context.Background(), in, maxUnpacked)
	if err == nil {
		_, err = io.Copy(io.Discard, text)
		stop()
	}
	if err != os.ErrDeadlineExceeded {
		t.Error(err)
	}
}

// FuzzUnpack holds: any data is unpacked without panic; and of a compressed text no part and no changed text is
// taken for the whole.
func FuzzUnpack(f *testing.F) {
	for _, packing := range packingNames {
		f.Add(pack(f, packing, "a.example\n", "b.example\n"), 7)
	}
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		read := func(data []byte) (string, error) {
			in := &countingReader{ctx: context.Background(), from: bytes.NewReader(data)}
			text, _, stop, err := unpack(context.Background(), in, 1<<20)
			if err != nil {
				return "", err
			}
			defer stop()
			all, err := io.ReadAll(text)
			return string(all), err
		}
		if text, err := read(data); err == nil && len(text) > 1<<20 {
			t.Fatalf("%d octets", len(text))
		}
		for _, packing := range packingNames {
			packed := pack(t, packing, string(data))
			if text, err := read(packed); err != nil || text != string(data) {
				t.Fatalf("%s: %v", packing, err)
			}
			if cut := int(uint(cut) % uint(len(packed)+1)); 5 <= cut && cut < len(packed) {
				if _, err := read(packed[:cut]); err == nil {
					t.Fatalf("%s: %d of %d octets are taken for the whole", packing, cut, len(packed))
				}
			}
		}
	})
}
