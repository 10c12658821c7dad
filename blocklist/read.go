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
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// emitFunc takes one entry of a list, from the given line, for the types of the list's part of that number, where 0 is
// every type. The name is good until it returns. What it took counts only when the list has been read to its end
// without error.
type emitFunc func(line int, part uint16, name []byte, scope Scope, exception bool) error

// networkFunc takes one network of addresses in answers likewise. Bits after the prefix are zero, and an IPv4 address is
// no IPv6 one.
type networkFunc func(line int, prefix netip.Prefix, exception bool) error

// readSource reads the list at src: it fills in r's list and gives it the entries. An error means that none of them
// may be used.
func readSource(ctx context.Context, src source, r *reader) error {
	var forced *format
	if src.format != "" {
		f, ok := formatNamed(src.format)
		if !ok {
			return fmt.Errorf("format %q is none of %s", src.format, strings.Join(Formats(), ", "))
		}
		forced = &f
	}
	if !src.ut1 {
		return readFile(ctx, src.path, forced, r)
	}
	if forced != nil && forced.name != formatUT1.name {
		return fmt.Errorf("is a UT1 directory and no %s list", forced.name)
	}
	domains := filepath.Join(src.path, "domains")
	if _, err := os.Stat(domains); !errors.Is(err, fs.ErrNotExist) {
		if err := readFile(ctx, domains, &formatUT1, r); err != nil {
			return err
		}
	}
	r.list.Format = formatUT1.name
	return readUT1Rest(src.path, r.list)
}

// readFile reads a list file, for its digest and its entries. Without a format it finds out which it is.
func readFile(ctx context.Context, path string, f *format, r *reader) error {
	file, err := os.Open(path)
	if err != nil {
		return hinted(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	l := r.list
	l.File, l.Modified = path, info.ModTime()
	digest := sha256.New()
	packed := &countingReader{ctx: ctx, from: io.TeeReader(file, digest)}
	stop := func() {}
	defer func() { stop() }()
	err = readText(ctx, func() (io.Reader, error) {
		stop()
		stop = func() {}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		digest.Reset()
		packed.n = 0
		text, packing, stopUnpacking, err := unpack(ctx, packed, maxUnpacked)
		if err != nil {
			return nil, err
		}
		l.Packing, stop = packing, stopUnpacking
		return text, nil
	}, f, r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, packed); err != nil { // nothing is left, as a rule
		return err
	}
	l.Bytes = packed.n
	digest.Sum(l.Digest[:0])
	return nil
}

// readText reads the text that open gives, each time from its beginning: a format that looks ahead has it read twice.
func readText(ctx context.Context, open func() (io.Reader, error), f *format, r *reader) error {
	var in *bufio.Reader
	begin := func() error {
		text, err := open()
		if err != nil {
			return err
		}
		in = bufio.NewReaderSize(text, maxLine)
		sample, err := in.Peek(sampleSize)
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
		if bytes.HasPrefix(sample, bom) {
			_, err = in.Discard(len(bom))
			return err
		}
		return nil
	}
	if err := begin(); err != nil {
		return err
	}
	r.list.Format = f.name
	if f.ahead != nil {
		err := eachLineWith(ctx, in, f.mark, func(line []byte) error { return f.ahead(r, bytes.TrimSpace(line)) })
		if err != nil {
			return err
		}
		if err := begin(); err != nil {
			return err
		}
	}
	return readLines(ctx, in, f, r)
}

// readLines reads a list's text by lines.
func readLines(ctx context.Context, in *bufio.Reader, f *format, r *reader) error {
	l := r.list
	err := eachLine(ctx, in, func(number int, line []byte, long bool) error {
		r.number, r.line = number, line
		if long {
			r.unreadable(line, 0, fmt.Sprintf("line longer than %d octets", len(line)))
		} else {
			f.read(r, bytes.TrimSpace(line))
		}
		return r.err
	})
	if err == nil && f.finish != nil {
		f.finish(r)
		err = r.err
	}
	l.Lines = r.number
	ignored := map[string]int{}
	for reason, n := range r.ignored.of {
		ignored[reason] = *n
	}
	l.addIgnored(ignored)
	for text, n := range r.notes.of {
		l.Notes = append(l.Notes, Note{text, *n})
	}
	slices.SortFunc(l.Notes, func(a, b Note) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text)) })
	if err != nil {
		return err
	}
	if l.Entries == 0 && r.networks == 0 && l.Unreadable > 0 {
		return fmt.Errorf("holds no readable line as %s list: %s", l.Format, l.Problems[0])
	}
	return nil
}

// eachLine gives the lines of in to do, numbered from 1, with their ends. in's buffer bounds a line: of one that is
// longer, do gets the beginning.
func eachLine(ctx context.Context, in *bufio.Reader, do func(number int, line []byte, long bool) error) error {
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			return nil
		}
		long := err == bufio.ErrBufferFull
		if err != nil && err != io.EOF && !long {
			return lineError(number, err)
		}
		if err := do(number, line, long); err != nil {
			return err
		}
		for err == bufio.ErrBufferFull {
			_, err = in.ReadSlice('\n')
		}
		if long && err != nil && err != io.EOF {
			return lineError(number, err)
		}
		if number&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// eachLineWith gives the lines of in that have mark in them to do, but for those that are longer than in's buffer. It
// is many times as fast as eachLine where they are few.
func eachLineWith(ctx context.Context, in *bufio.Reader, mark byte, do func(line []byte) error) error {
	for number := 1; ; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		block, _ := in.Peek(in.Buffered())
		block = block[:bytes.LastIndexByte(block, '\n')+1]
		if len(block) == 0 { // the buffer ends in the midst of a line
			line, err := in.ReadSlice('\n')
			long := err == bufio.ErrBufferFull
			for err == bufio.ErrBufferFull {
				_, err = in.ReadSlice('\n')
			}
			if err != nil && err != io.EOF {
				return lineError(number, err)
			}
			if !long && bytes.IndexByte(line, mark) >= 0 {
				if err := do(line); err != nil {
					return err
				}
			}
			if number++; err == io.EOF {
				return nil
			}
			continue
		}
		for rest := block; ; {
			at := bytes.IndexByte(rest, mark)
			if at < 0 {
				break
			}
			begin, end := bytes.LastIndexByte(rest[:at], '\n')+1, at+bytes.IndexByte(rest[at:], '\n')+1
			if err := do(rest[begin:end]); err != nil {
				return err
			}
			rest = rest[end:]
		}
		number += bytes.Count(block, newline)
		if _, err := in.Discard(len(block)); err != nil {
			return err
		}
	}
}

// lineError says in which line of the text reading ended.
func lineError(number int, err error) error {
	return fmt.Errorf("%w (in line %d of its text)", err, number)
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
