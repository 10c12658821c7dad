package blocklist

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// unpacked returns the text of data, of which limit octets are allowed.
func unpacked(data []byte, limit int64) (string, error) {
	in := &countingReader{ctx: context.Background(), from: bytes.NewReader(data)}
	text, _, stop, err := unpack(context.Background(), in, limit)
	if err != nil {
		return "", err
	}
	defer stop()
	all, err := io.ReadAll(text)
	return string(all), err
}

// TestXZ reads what xz(1) wrote: with each kind of checksum, in blocks that tell their sizes, with the smallest
// window, in two streams with padding, and nothing. What refused- files need is not read, and is said.
func TestXZ(t *testing.T) {
	want, err := os.ReadFile("testdata/packed/list.txt")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/packed/*.xz")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	refused := map[string]string{
		"refused-delta.xz":  "is xz data with something that is not read here: a filter other than LZMA2; unpack it first",
		"refused-x86.xz":    "is xz data with something that is not read here: a filter other than LZMA2; unpack it first",
		"refused-window.xz": "is xz data that takes more than 128 MiB of memory to unpack; unpack it first",
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(file)
		text, err := unpacked(data, maxUnpacked)
		switch {
		case refused[base] != "":
			if err == nil || err.Error() != refused[base] {
				t.Errorf("%s: %v", base, err)
			}
		case base == "empty.xz":
			if err != nil || text != "" {
				t.Errorf("%s: %q, %v", base, text, err)
			}
		case err != nil || text != string(want):
			t.Errorf("%s: %v, %d octets, want %d", base, err, len(text), len(want))
		}
	}
}

// TestXZChangedOctets changes one bit of each octet of a file in turn, and cuts it at each octet: that is seen, or the text is the
// same, since the library does not look at what a chunk says of its compressed size.
func TestXZChangedOctets(t *testing.T) {
	for _, file := range []string{"small-window", "blocks", "streams", "check-sha256", "empty"} {
		data, err := os.ReadFile("testdata/packed/" + file + ".xz")
		if err != nil {
			t.Fatal(err)
		}
		whole, err := unpacked(data, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(xzMagic); i < len(data); i++ {
			broken := bytes.Clone(data)
			broken[i] ^= 1 << (i % 8)
			if text, err := unpacked(broken, 1<<20); err == nil && text != whole {
				t.Errorf("%s: bit %d of octet %d can be changed", file, i%8, i)
			}
		}
		for n := 5; n < len(data); n++ {
			if _, err := unpacked(data[:n], 1<<20); file == "streams" && (n == len(data)-4 || n == 184 || n == 188 || n == 192) {
				continue // there a stream is whole
			} else if err == nil || err.Error() != fmt.Sprintf("is xz data that is cut off at octet %d; fetch it again", n) {
				t.Errorf("%s: %d octets of %d: %v", file, n, len(data), err)
			}
		}
	}
}

// xzBlockHeader returns a block header with these octets after its size.
func xzBlockHeader(body ...byte) []byte {
	for len(body)%4 != 3 {
		body = append(body, 0)
	}
	head := append([]byte{byte((len(body) + 1) / 4)}, body...)
	return binary.LittleEndian.AppendUint32(head, crc32.ChecksumIEEE(head))
}

// TestXZTakesBoundedMemory holds that many blocks with large windows, each for nothing, are not read for ever.
func TestXZTakesBoundedMemory(t *testing.T) {
	plain, err := os.ReadFile("testdata/packed/check-none.xz")
	if err != nil {
		t.Fatal(err)
	}
	block := append(xzBlockHeader(0, 0x21, 1, 30), 0, 0, 0, 0) // 128 MiB, and no data
	x := xzReader{in: xzInput{from: bufio.NewReader(io.MultiReader(bytes.NewReader(plain[:12]), repeated(block)))}}
	x.windows = maxXZWindows - 3*maxWindow // as after many such blocks
	if err := x.beginStream(); err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, &x)
	if err == nil || !strings.Contains(err.Error(), "blocks that take 64 GiB of memory one after the other") || x.blocks != 3 {
		t.Error(err, x.blocks)
	}
	for _, c := range []struct {
		header []byte
		want   error
	}{
		{xzBlockHeader(0, 0x21, 1, 31), errWindow},
		{xzBlockHeader(0, 0x21, 1, 40), errWindow},
		{xzBlockHeader(0x80, 64, 0x21, 1, 40), errXZSize}, // no more than the text is needed
		{xzBlockHeader(0, 0x21, 1, 41), errXZBlock},
		{xzBlockHeader(0, 0x21, 2, 0, 0), errXZBlock},
		{xzBlockHeader(0x80, 0x80, 0), errForeign},
		{xzBlockHeader(0, 0x21, 1, 0, 0, 1), errXZBlock},
		{[]byte{1, 0, 0x21, 1, 0, 0, 0, 0}, errXZBlock},
	} {
		x := xzReader{in: xzInput{from: bufio.NewReader(io.MultiReader(bytes.NewReader(plain[:12]), bytes.NewReader(c.header), repeated([]byte{0})))}}
		if err := x.beginStream(); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Read(make([]byte, 1)); !errors.Is(err, c.want) {
			t.Errorf("%x: %v, want %v", c.header, err, c.want)
		}
	}
}

// repeated gives its octets again and again.
type repeated []byte

func (r repeated) Read(p []byte) (int, error) {
	n := 0
	for n+len(r) <= len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

// FuzzXZ holds that data which the library's own container reader takes for xz is read here alike, and that no data
// makes a panic.
func FuzzXZ(f *testing.F) {
	files, err := filepath.Glob("testdata/packed/*.xz")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !bytes.HasPrefix(data, []byte(xzMagic)) {
			data = append([]byte(xzMagic), data...)
		}
		got, gotErr := unpacked(data, 1<<20)
		if len(data) > 24 && len(data) < 1<<12 && gotErr == nil {
			r, err := xz.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if want, err := io.ReadAll(r); err != nil || string(want) != got {
				t.Fatalf("%q; the library reads %q, %v", got, want, err)
			}
		}
	})
}
