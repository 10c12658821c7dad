// Command verify proves records that `weir audit export --proof` has written, offline and with nothing of Weir: it is
// one file and needs the standard library only. Read it; it is short enough.
//
//	go run ./docs/verify -key weir-audit-1234abcd+5678ef01+AbC... bundle.jsonl
//
// The key is what `weir audit key` prints; have it from somebody you trust, not from who gives you the bundle. Each record
// that is proven is printed as a line of JSON. The first that is not ends it, with exit code 1.
//
// A bundle is lines of JSON. The first has the checkpoint: a signed note (golang.org/x/mod/sumdb/note) over the number of
// segments and the root of a Merkle tree (RFC 6962) whose leaves they are. A line with "leaf" has one segment's leaf, its
// number in the tree and the path to that root; the leaf begins with the segment's header, in which are the number of its
// first record and how many there are, and has the root of a tree over its rows. A line with "row" has one row of the
// segment before it, its number there and the path to that second root: from the hashes of the other rows in its group of
// eight to that of the group, which is a leaf of a Merkle tree; in segments of older versions each row is such a leaf.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	key := flag.String("key", "", "the log's public `KEY`")
	flag.Parse()
	if *key == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: verify -key KEY BUNDLE")
		os.Exit(2)
	}
	in, err := os.Open(flag.Arg(0))
	if err == nil {
		err = verify(in, os.Stdout, os.Stderr, *key)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "NOT PROVEN:", err)
		os.Exit(1)
	}
}

// line is any line of a bundle.
type line struct {
	Checkpoint string
	Leaf       []byte // of a segment
	Row        []byte
	Number     uint64   // of the segment in the tree, of the row in its segment; from 0
	Path       [][]byte // the lowest hash first
}

func verify(in io.Reader, out, talk io.Writer, key string) error {
	var (
		size, rows  uint64
		root        []byte
		segment     []byte // the leaf proven last
		proven      int
		first, text = true, ""
	)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var l line
		err := json.Unmarshal(lines.Bytes(), &l)
		switch {
		case err != nil:
		case first:
			first = false
			if text, err = openNote(l.Checkpoint, key); err == nil {
				size, root, err = tree(text)
			}
		case l.Leaf != nil:
			if err = climb(leafHash(l.Leaf), l.Number, size, l.Path, root); err == nil {
				segment = l.Leaf
				rows, err = rowsIn(segment)
			}
		case l.Row != nil && segment != nil:
			if err = climbRow(segment, rows, l); err == nil {
				proven++
				err = show(out, binary.BigEndian.Uint64(segment[16:])+l.Number, l.Row)
			}
		default:
			err = errors.New("it is neither a segment nor a row of one")
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if first {
		return errors.New("it is empty")
	}
	fmt.Fprintf(talk, "%d records proven by this checkpoint:\n%s", proven, text)
	return nil
}

// openNote returns the text of a note that key has signed.
func openNote(note, key string) (string, error) {
	parts := strings.SplitN(key, "+", 3)
	if len(parts) != 3 {
		return "", errors.New("the key has not three parts")
	}
	public, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(public) != 1+ed25519.PublicKeySize || public[0] != 1 {
		return "", errors.New("the key is no Ed25519 key")
	}
	text, signatures, ok := strings.Cut(note, "\n\n")
	text += "\n"
	for _, s := range strings.Split(signatures, "\n") {
		encoded, named := strings.CutPrefix(s, "— "+parts[0]+" ")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if ok && named && err == nil && len(signature) == 4+ed25519.SignatureSize &&
			ed25519.Verify(public[1:], []byte(text), signature[4:]) {
			return text, nil
		}
	}
	return "", errors.New("the key has not signed the checkpoint")
}

// tree returns how many leaves the checkpoint is about, and their root.
func tree(text string) (size uint64, root []byte, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 3 {
		return 0, nil, errors.New("the checkpoint is too short")
	}
	if size, err = strconv.ParseUint(lines[1], 10, 63); err != nil {
		return 0, nil, err
	}
	root, err = base64.StdEncoding.DecodeString(lines[2])
	return size, root, err
}

// climbRow proves that a row is of that segment, which has so many.
func climbRow(segment []byte, rows uint64, l line) error {
	h, root := leafHash(l.Row), segment[96:128]
	if segment[7]&2 == 0 {
		return climb(h, l.Number, rows, l.Path, root)
	}
	if l.Number >= rows {
		return errors.New("its number is beyond the segment")
	}
	place := l.Number % 8
	others := min(8, rows-(l.Number-place)) - 1
	if uint64(len(l.Path)) < others {
		return errors.New("its path is too short")
	}
	group := []byte{2}
	for i, other := range slices.Insert(l.Path[:others:others], int(place), h[:]) {
		if len(other) != len(h) {
			return fmt.Errorf("hash %d of its path has %d octets", i, len(other))
		}
		group = append(group, other...)
	}
	return climb(sha256.Sum256(group), l.Number/8, (rows+7)/8, l.Path[others:], root)
}

func leafHash(data []byte) [32]byte { return sha256.Sum256(append([]byte{0}, data...)) }

// climb proves that h is of leaf number in a tree with so many leaves and that root (RFC 6962 §2.1.1).
func climb(h [32]byte, number, leaves uint64, path [][]byte, root []byte) error {
	if number >= leaves {
		return errors.New("its number is beyond the tree")
	}
	for last := leaves - 1; last > 0; number, last = number/2, last/2 {
		if number == last && number%2 == 0 {
			continue // the last of an odd number of nodes stands for itself above
		}
		if len(path) == 0 || len(path[0]) != len(h) {
			return errors.New("its path is too short")
		}
		left, right := h[:], path[0]
		if path = path[1:]; number%2 == 1 {
			left, right = right, left
		}
		h = sha256.Sum256(bytes.Join([][]byte{{1}, left, right}, nil))
	}
	if len(path) > 0 || !bytes.Equal(h[:], root) {
		return errors.New("its path does not lead to the root")
	}
	return nil
}

// rowsIn returns how many rows a segment has.
func rowsIn(leaf []byte) (uint64, error) {
	if len(leaf) != 160 || string(leaf[:4]) != "WEIR" || leaf[7]&1 == 0 {
		return 0, errors.New("it is no segment with rows that can be proven")
	}
	return uint64(binary.BigEndian.Uint32(leaf[24:])), nil
}

var (
	fields = []string{
		1: "kind", "time", "client", "transport", "name", "type", "class", "flags", "group", "policy", "rule", "category", "list",
		"observed_group", "observed_policy", "observed_rule", "observed_category", "observed_list", "on", "entry_off",
		"entry_scope", "entry_alias", "source", "rcode", "ede_plus_1", "alias", "address", "upstream", "duration_us", "revision",
		"text", "lost", "from", "cause", "action", "actor", "port", "id", "query_octets", "answer_octets", "bits", "udp_size",
		"edns_version", "client_pseudonym", "client_network",
	}
	words = map[string][]string{
		"kind": {1: "query", 2: "change", 3: "gap"}, "transport": {1: "udp", 2: "tcp"},
		"source": {1: "sinkhole", 2: "local", 3: "cache", 4: "stale", 5: "upstream", 6: "error", 7: "refused"},
		"on":     {1: "name", 2: "alias", 3: "address"},
	}
)

// show prints a row: fields of a tag, whose lowest bit says that octets follow and no number.
func show(out io.Writer, seq uint64, row []byte) error {
	line := fmt.Appendf(nil, `{"seq":%d`, seq)
	for len(row) > 0 {
		tag, n := binary.Uvarint(row)
		value, m := binary.Uvarint(row[max(n, 0):])
		if n <= 0 || m <= 0 || tag&1 == 1 && value > uint64(len(row)-n-m) {
			return errors.New("the row is cut short")
		}
		row = row[n+m:]
		field := fmt.Sprint("field_", tag>>1)
		if tag>>1 > 0 && tag>>1 < uint64(len(fields)) {
			field = fields[tag>>1]
		}
		shown := any(value)
		if tag&1 == 1 {
			shown = octets(field, row[:value])
			row = row[value:]
		} else if field == "time" || field == "from" {
			shown = time.Unix(0, int64(value)).UTC().Format(time.RFC3339Nano)
		} else if of := words[field]; value < uint64(len(of)) {
			shown = of[value]
		}
		text, err := json.Marshal(shown)
		if err != nil {
			return err
		}
		line = fmt.Appendf(line, `,%q:%s`, field, text)
	}
	_, err := fmt.Fprintf(out, "%s}\n", line)
	return err
}

func octets(field string, v []byte) string {
	switch field {
	case "name", "alias":
		var b strings.Builder
		for len(v) > 0 && v[0] != 0 && int(v[0]) < len(v) {
			for _, c := range v[1 : 1+v[0]] {
				if c <= ' ' || c > '~' || c == '.' || c == '\\' {
					fmt.Fprintf(&b, `\%03d`, c)
				} else {
					b.WriteByte(c)
				}
			}
			b.WriteByte('.')
			v = v[1+v[0]:]
		}
		return b.String()
	case "client_pseudonym": // months since 1970, and what tells it from others
		if len(v) == 10 {
			month := int(binary.BigEndian.Uint16(v))
			if tells := v[2:]; !bytes.Equal(tells, make([]byte, 8)) {
				return fmt.Sprintf("client-%04d-%02d-%x", 1970+month/12, month%12+1, tells)
			}
			return fmt.Sprintf("client-%04d-%02d-others", 1970+month/12, month%12+1)
		}
	case "client_network": // length of the prefix, address
		if a, ok := netip.AddrFromSlice(v[min(1, len(v)):]); ok {
			return fmt.Sprintf("%s/%d", a, v[0])
		}
	case "client", "address":
		if a, ok := netip.AddrFromSlice(v); ok {
			return a.String()
		}
	}
	return string(v)
}
