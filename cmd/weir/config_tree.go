package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A span is a range of bytes in the file: the first and the one after the last.
type span struct{ from, to int }

// A node is a value of the file with its place. Tables and arrays hold others.
type node struct {
	kind  unstable.Kind // InlineTable for every table, Array for every array, else a scalar
	made  made
	at    span // the value; of a table with a header, the name in it
	text  string
	elems []*node // of an array
	keys  []entry // of a table, in the order of the file
	index map[string]int
}

// An entry is a key of a table.
type entry struct {
	name string
	at   span
	node *node
}

// made is what wrote a table or array, which decides what may still be added to it (TOML 1.0, "Table").
type made uint8

const (
	byValue   made = iota // complete as it is: scalar, inline table, array
	byDots                // a.b = 1 makes a: only further dotted keys add to it, or headers of tables below it
	byPath                // [a.b] makes a: its own header may follow
	byHeader              // [a]
	byHeaders             // [[a]]
)

func (n *node) get(name string) *entry {
	if i, ok := n.index[name]; ok {
		return &n.keys[i]
	}
	return nil
}

func (n *node) add(name string, at span, child *node) *node {
	if n.index == nil {
		n.index = make(map[string]int)
	}
	n.index[name] = len(n.keys)
	n.keys = append(n.keys, entry{name, at, child})
	return child
}

func newTable(m made, at span) *node {
	return &node{kind: unstable.InlineTable, made: m, at: at}
}

// parseTree reads the file's text into its root table and reports what is written twice. It returns false after a
// syntax error, which it reports; nothing can be said about the rest of such a file.
//
// The parser hands out one line of the file after the other and forgets it; the tree keeps names, values and places.
func parseTree(r *report) (*node, bool) {
	t := &tree{report: r}
	t.parser.Reset(r.data)
	root := newTable(byHeader, span{})
	here := root
	for t.parser.NextExpression() {
		switch e := t.parser.Expression(); e.Kind {
		case unstable.KeyValue:
			t.keyValue(here, e)
		case unstable.Table, unstable.ArrayTable:
			here = t.header(root, e)
		}
	}
	if err := t.parser.Error(); err != nil {
		t.syntax(err)
		return nil, false
	}
	return root, true
}

type tree struct {
	*report
	parser unstable.Parser
}

const notTOML = "not valid TOML"

func (t *tree) syntax(err error) {
	at := span{0, 0}
	var p *unstable.ParserError
	if errors.As(err, &p) {
		at = spanOf(t.parser.Range(p.Highlight))
	}
	t.errorAt(t.pos(at), notTOML, err.Error())
}

func spanOf(r unstable.Range) span {
	return span{int(r.Offset), int(r.Offset + r.Length)}
}

// keyValue adds `a.b = value` below table.
func (t *tree) keyValue(table *node, kv *unstable.Node) {
	it := kv.Key()
	for it.Next() {
		name, at := string(it.Node().Data), spanOf(it.Node().Raw)
		have := table.get(name)
		switch {
		case it.IsLast() && have == nil:
			from := t.skip(at.to) // to the equals sign
			table.add(name, at, t.value(kv.Value(), t.skip(from+1)))
		case it.IsLast():
			t.twice(fmt.Sprintf("key %q is set twice", name), at, have)
		case have == nil:
			table = table.add(name, at, newTable(byDots, at))
		case have.node.made != byDots:
			t.twice(fmt.Sprintf("key %q is set twice", name), at, have)
			return
		default:
			table = have.node
		}
	}
}

// header follows [a.b] or [[a.b]] from the root and returns the table that the next keys belong to.
func (t *tree) header(root *node, e *unstable.Node) *node {
	var whole span // of the name with its dots
	for it := e.Key(); it.Next(); {
		if whole.to = spanOf(it.Node().Raw).to; whole.from == 0 {
			whole.from = spanOf(it.Node().Raw).from
		}
	}
	table := root
	it := e.Key()
	for it.Next() {
		name, at := string(it.Node().Data), spanOf(it.Node().Raw)
		have := table.get(name)
		switch {
		case it.IsLast() && e.Kind == unstable.Table:
			return t.last(table, name, whole, at, have)
		case it.IsLast():
			return t.element(table, name, whole, at, have)
		case have == nil:
			table = table.add(name, at, newTable(byPath, at))
		case have.node.made == byHeaders:
			table = have.node.elems[len(have.node.elems)-1]
		case have.node.made == byValue:
			t.twice(fmt.Sprintf("%q is already a value, not a table", name), at, have)
			return newTable(byHeader, whole)
		default:
			table = have.node
		}
	}
	return table
}

// last makes [..name] in table, or opens it if only a longer header made it so far.
func (t *tree) last(table *node, name string, whole, at span, have *entry) *node {
	if have == nil {
		return table.add(name, at, newTable(byHeader, whole))
	}
	switch header := t.data[whole.from:whole.to]; have.node.made {
	case byPath:
		have.node.made, have.node.at = byHeader, whole
		return have.node
	case byHeader:
		t.twice(fmt.Sprintf("table [%s] is written twice", shown(header)), at, have, "put all of its keys under one header")
		return have.node
	case byHeaders:
		t.twice(fmt.Sprintf("[%s] is already a list of tables", shown(header)), at, have, fmt.Sprintf("write [[%s]]", shown(header)))
	case byDots:
		t.twice(fmt.Sprintf("table [%s] is already made by a dotted key", shown(header)), at, have)
	case byValue:
		t.twice(fmt.Sprintf("%q is already a value, not a table", name), at, have)
	}
	return newTable(byHeader, whole)
}

// element appends a table for [[..name]].
func (t *tree) element(table *node, name string, whole, at span, have *entry) *node {
	elem := newTable(byHeader, whole)
	switch {
	case have == nil:
		table.add(name, at, &node{kind: unstable.Array, made: byHeaders, at: whole, elems: []*node{elem}})
	case have.node.made == byHeaders:
		have.node.elems = append(have.node.elems, elem)
	default:
		header := shown(t.data[whole.from:whole.to])
		t.twice(fmt.Sprintf("%q is already there, and not as a list of tables", name), at, have, fmt.Sprintf("write [[%s]] everywhere", header))
	}
	return elem
}

func (t *tree) twice(message string, at span, first *entry, notes ...string) {
	t.mark(t.errorAt(t.pos(at), message, "again here", notes...), t.pos(first.at), "first here")
}

// value copies v, whose text starts at from. The parser gives no range for arrays and inline tables; theirs is found
// by walking over what they hold.
func (t *tree) value(v *unstable.Node, from int) *node {
	n := &node{kind: v.Kind, at: span{from, from + 1}}
	switch v.Kind {
	case unstable.Array:
		for it := v.Children(); it.Next(); {
			elem := t.value(it.Node(), t.skip(n.at.to))
			n.elems = append(n.elems, elem)
			n.at.to = elem.at.to
		}
		n.at.to = t.skip(n.at.to) + 1
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			t.keyValue(n, it.Node())
			n.at.to = spanOf(it.Node().Raw).to
		}
		n.at.to = t.skip(n.at.to) + 1
	default:
		n.at, n.text = spanOf(v.Raw), string(v.Data)
	}
	return n
}

// skip returns the offset of the first byte at or after i that is not between values: blank, line end, comma, comment.
func (t *tree) skip(i int) int {
	for i < len(t.data) {
		switch t.data[i] {
		case ' ', '\t', '\r', '\n', ',':
			i++
		case '#':
			end := bytes.IndexByte(t.data[i:], '\n')
			if end < 0 {
				return len(t.data)
			}
			i += end
		default:
			return i
		}
	}
	return i
}
