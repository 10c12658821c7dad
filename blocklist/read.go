package blocklist

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// emitFunc takes one entry of a list, from the given line. The name is good until it returns.
type emitFunc func(line int, name []byte, scope Scope, exception bool) error

// readSource reads the list at src: it fills in l and gives the entries to emit.
func readSource(ctx context.Context, src source, l *List, emit emitFunc) error {
	if !src.ut1 {
		return readFile(ctx, src.path, nil, l, emit)
	}
	domains := filepath.Join(src.path, "domains")
	if _, err := os.Stat(domains); !errors.Is(err, fs.ErrNotExist) {
		if err := readFile(ctx, domains, &formatUT1, l, emit); err != nil {
			return err
		}
	}
	l.Format = formatUT1.name
	return readUT1Rest(src.path, l)
}

// readFile reads a list file once, for its digest and its entries. Without a format it finds out which it is.
func readFile(ctx context.Context, path string, f *format, l *List, emit emitFunc) error {
	file, err := os.Open(path)
	if err != nil {
		return hinted(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	l.File, l.Modified = path, info.ModTime()
	digest := sha256.New()
	counted := &countingReader{from: io.TeeReader(file, digest)}
	if err := readLines(ctx, bufio.NewReaderSize(counted, 2*sampleSize), f, l, emit); err != nil {
		return err
	}
	l.Bytes = counted.n
	digest.Sum(l.Digest[:0])
	return nil
}

type countingReader struct {
	from io.Reader
	n    int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

// readLines reads a list's text. in's buffer bounds a line: what is longer is one unreadable line.
func readLines(ctx context.Context, in *bufio.Reader, f *format, l *List, emit emitFunc) error {
	sample, err := in.Peek(min(sampleSize, in.Size()))
	if err != nil && err != io.EOF {
		return err
	}
	if f == nil {
		found, refused := detect(sample, err == io.EOF)
		if refused != nil {
			return refused
		}
		f = &found
	} else if err := refuse(sample); err != nil {
		return err
	}
	l.Format = f.name
	if bytes.HasPrefix(sample, bom) {
		if _, err := in.Discard(len(bom)); err != nil {
			return err
		}
	}

	r := &reader{list: l, emit: emit, ignored: map[string]int{}}
	for r.err == nil {
		line, err := in.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			break
		}
		r.number++
		long := err == bufio.ErrBufferFull
		switch {
		case long:
			r.line = line
			r.unreadable(line, 0, fmt.Sprintf("line longer than %d octets", in.Size()))
		case err != nil && err != io.EOF:
			return err
		default:
			r.line = line
			f.read(r, bytes.TrimSpace(line))
		}
		for err == bufio.ErrBufferFull {
			_, err = in.ReadSlice('\n')
		}
		if long && err != nil && err != io.EOF {
			return err
		}
		if r.number&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	l.Lines = r.number
	l.addIgnored(r.ignored)
	if r.err != nil {
		return r.err
	}
	if l.Entries == 0 && l.Unreadable > 0 {
		return fmt.Errorf("holds no readable line as %s list: %s", l.Format, l.Problems[0])
	}
	return nil
}

// addIgnored adds to l.Ignored and puts it in order.
func (l *List) addIgnored(counts map[string]int) {
	for _, i := range l.Ignored {
		counts[i.Reason] += i.Count
	}
	l.Ignored = l.Ignored[:0]
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		l.Ignored = append(l.Ignored, Ignored{reason, counts[reason]})
	}
	slices.SortStableFunc(l.Ignored, func(a, b Ignored) int { return cmp.Compare(b.Count, a.Count) })
}

// readUT1Rest counts what a UT1 directory holds beside its domains, none of which DNS can enforce, and reads what the
// category is for.
func readUT1Rest(dir string, l *List) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return hinted(err)
	}
	ignored := map[string]int{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			return hinted(err)
		}
		if !info.Mode().IsRegular() || e.Name() == "domains" {
			continue
		}
		reason := fmt.Sprintf("line of %s: not enforceable in DNS", e.Name())
		var words []string
		n, err := contentLines(path, func(line []byte) {
			switch word := string(line); word {
			case "black", "white":
				words = append(words, word)
			}
		})
		if err != nil {
			return fmt.Errorf("file %s: %w", e.Name(), hinted(err))
		}
		if e.Name() == "usage" {
			slices.Sort(words)
			l.Usage = strings.Join(slices.Compact(words), " ")
		} else if n > 0 {
			ignored[reason] = n
		}
	}
	l.addIgnored(ignored)
	return nil
}

// contentLines counts the lines of a file that are neither empty nor comments, and shows each to see.
func contentLines(path string, see func(line []byte)) (int, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, sampleSize)
	n := 0
	for begin := true; ; {
		line, err := in.ReadSlice('\n')
		text := bytes.TrimSpace(line)
		if begin && len(text) > 0 && text[0] != '#' {
			n++
			see(text)
		}
		begin = err == nil
		if err == io.EOF {
			return n, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return n, err
		}
	}
}

// errFound ends the reading of a list at the entry looked for.
var errFound = errors.New("found")
