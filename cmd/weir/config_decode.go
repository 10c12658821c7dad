package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// places holds where the file writes what, by pointer to the field, list element or table.
type places map[any]place

type place struct {
	key, value Pos
	// broken says that the value, or a part of it, could not be taken and was reported. What is missing because of that
	// is not reported again.
	broken bool
}

// absent reports whether the file does not write field, a pointer, in any form.
func (p places) absent(field any) bool {
	at := p[field]
	return at.key.Line == 0 && !at.broken
}

// decode writes root into what file points to, a struct with a field for each key, over its defaults. It reports unknown
// keys and values that do not fit.
func decode(r *report, root *node, file any) places {
	into := reflect.ValueOf(file).Elem()
	d := &decoder{report: r, places: make(places), root: into.Type()}
	d.table(root, into, "", "")
	return d.places
}

// defaultConfig returns the configuration of a file that writes nothing.
func defaultConfig() *Config {
	cfg := new(Config)
	setDefaults(reflect.ValueOf(cfg).Elem())
	return cfg
}

type decoder struct {
	*report
	places places
	root   reflect.Type // of the whole file

	unknowns int // keys that were reported
}

// table decodes n into a struct. path is its dotted name and header that in brackets, both "" for the file itself.
// It returns false if some of it was reported.
func (d *decoder) table(n *node, into reflect.Value, path, header string) bool {
	ok := true
	if pos := into.FieldByName("Pos"); pos.IsValid() {
		pos.SetString(fmt.Sprintf("%s:%d", d.file, d.pos(n.at).Line))
	}
	for _, e := range n.keys {
		f, found := fieldOf(into.Type(), e.name)
		if !found {
			d.unknown(e, into, header)
			ok = false
			continue
		}
		v := f.in(into)
		key, value := d.pos(e.at), d.pos(e.node.at)
		if f.secret {
			d.hide(value)
		}
		fits := d.value(e, f, v, joinKey(path, e.name))
		d.places[v.Addr().Interface()] = place{key, value, !fits}
		ok = ok && fits
	}
	return ok
}

// unknown reports a key that into has no field for.
func (d *decoder) unknown(e entry, into reflect.Value, header string) {
	names := keysOf(into.Type())
	label := "not a setting of " + header
	if header == "" {
		label = "not a table or setting of this file"
	}
	note := "settings there: " + strings.Join(names, ", ")
	if d.unknowns++; d.unknowns > mostProblems {
		note = "" // hardly one of these is written out
	} else if tables := tablesWith(e.name, d.root, ""); len(tables) > 0 {
		note = fmt.Sprintf("%s is a setting of %s", e.name, strings.Join(tables, ", "))
	}
	if near := nearest(e.name, names); near != "" {
		note = fmt.Sprintf("did you mean %q?", near)
		// It is as good as written: that it is missing need not be said too.
		f, _ := fieldOf(into.Type(), near)
		if f.secret {
			d.hide(d.pos(e.node.at))
		}
		field := f.in(into).Addr().Interface()
		if _, written := d.places[field]; !written {
			d.places[field] = place{broken: true}
		}
	}
	d.errorAt(d.pos(e.at), fmt.Sprintf("unknown key %q", e.name), label, note)
}

// value decodes e's value into the field f. It returns false if some of it was reported.
func (d *decoder) value(e entry, f field, into reflect.Value, path string) bool {
	n := e.node
	switch {
	case f.named:
		return d.named(n, into, path)
	case isTable(into.Type()):
		if n.kind != unstable.InlineTable {
			return d.wants(e, "a table", fmt.Sprintf("write [%s]", path))
		}
		return d.table(n, into, path, "["+path+"]")
	case into.Kind() == reflect.Slice && isTable(into.Type().Elem()):
		return d.tables(e, f, into, path)
	case into.Kind() == reflect.Slice:
		return d.list(e, f, into)
	default:
		return d.scalar(e, f, into)
	}
}

// named decodes a table of tables into a slice of structs with the field Name. Like a list of tables it is broken only
// if not all of its tables are known; what is broken in one of them is noted there.
func (d *decoder) named(n *node, into reflect.Value, path string) bool {
	if n.kind != unstable.InlineTable {
		return d.wants(entry{path, n.at, n}, "a table for each name", fmt.Sprintf("write [%s.NAME]", path))
	}
	ok := true
	all := reflect.MakeSlice(into.Type(), len(n.keys), len(n.keys)) // as long as it gets: places point into it
	used := 0
	for _, e := range n.keys {
		own := joinKey(path, e.name)
		if e.node.kind != unstable.InlineTable {
			note := fmt.Sprintf("write [%s.NAME] and put %s below it", path, bareKey(e.name))
			if e.node.made == byHeaders {
				note = fmt.Sprintf("write [%s]", own)
			}
			ok = d.wants(e, "a table", note)
			continue
		}
		elem := all.Index(used)
		used++
		setDefaults(elem)
		name := elem.FieldByName("Name")
		name.SetString(e.name)
		fits := d.table(e.node, elem, own, "["+own+"]")
		key, value := d.pos(e.at), d.pos(e.node.at)
		d.places[name.Addr().Interface()] = place{key, key, false}
		d.places[elem.Addr().Interface()] = place{key, value, !fits}
	}
	into.Set(all.Slice(0, used))
	return ok
}

// tables decodes an array of tables.
func (d *decoder) tables(e entry, f field, into reflect.Value, path string) bool {
	many, one, header, note := "a list of tables", "a table", "[["+path+"]]", fmt.Sprintf("write [[%s]]", path)
	if f.short {
		many, one, header, note = "a list of strings or tables", "a string or a table", "an element of "+f.name, ""
	}
	if e.node.kind != unstable.Array {
		return d.wants(e, many, cmp.Or(note, d.listed(e)))
	}
	if f.short && len(e.node.elems) == 0 {
		return d.none(e)
	}
	ok := true
	all := reflect.MakeSlice(into.Type(), len(e.node.elems), len(e.node.elems)) // as long as it gets: places point into it
	used := 0
	for _, n := range e.node.elems {
		elem, at := all.Index(used), d.pos(n.at)
		setDefaults(elem)
		fits := true
		switch {
		case n.kind == unstable.InlineTable:
			fits = d.table(n, elem, path, header)
		case f.short && n.kind == unstable.String:
			first := fieldsOf(elem.Type())[0]
			if !d.scalar(entry{e.name, n.at, n}, first, first.in(elem)) {
				ok = false
				continue
			}
			d.places[first.in(elem).Addr().Interface()] = place{at, at, false}
		default:
			ok = d.wants(entry{e.name, n.at, n}, one, "")
			continue
		}
		used++
		d.places[elem.Addr().Interface()] = place{at, at, !fits}
	}
	into.Set(all.Slice(0, used))
	return ok
}

// none reports an empty list.
func (d *decoder) none(e entry) bool {
	d.errorAt(d.pos(e.node.at), fmt.Sprintf("%q is an empty list", e.name), "list at least one, or leave the key out")
	return false
}

// listed says how to write a string, or a table, where a list is wanted.
func (d *decoder) listed(e entry) string {
	written := e.node.kind == unstable.String || e.node.kind == unstable.InlineTable && e.node.made == byValue
	if text := d.data[e.node.at.from:e.node.at.to]; written && bytes.IndexByte(text, '\n') < 0 {
		return fmt.Sprintf("write %s = [%s]", bareKey(e.name), text)
	}
	return ""
}

// list decodes an array of values. Elements that do not fit are left out.
func (d *decoder) list(e entry, f field, into reflect.Value) bool {
	kind := scalarOf(into.Type().Elem())
	if e.node.kind != unstable.Array {
		return d.wants(e, "a list of "+kind.plural, d.listed(e))
	}
	if len(e.node.elems) == 0 {
		return d.none(e)
	}
	ok := true
	all := reflect.MakeSlice(into.Type(), len(e.node.elems), len(e.node.elems)) // as long as it gets: places point into it
	used := 0
	first := make(map[any]Pos)
	for _, n := range e.node.elems {
		elem, at := all.Index(used), d.pos(n.at)
		if !d.scalar(entry{e.name, n.at, n}, f, elem) {
			ok = false
			continue
		}
		if have, twice := first[elem.Interface()]; twice {
			d.mark(d.errorAt(at, fmt.Sprintf("%q is listed twice", n.text), "again here"), have, "first here")
			ok = false
			continue
		}
		first[elem.Interface()] = at
		d.places[elem.Addr().Interface()] = place{at, at, false}
		used++
	}
	into.Set(all.Slice(0, used))
	return ok
}

// scalar decodes a value that holds no others, and holds it against the field's limits.
func (d *decoder) scalar(e entry, f field, into reflect.Value) bool {
	n, kind := e.node, scalarOf(into.Type())
	at := d.pos(n.at)
	if !slices.Contains(kind.written, n.kind) {
		note := kind.correct(n)
		if len(f.oneof) > 0 {
			note = "possible: " + strings.Join(f.oneof, ", ")
		}
		return d.wants(e, kind.noun, note)
	}
	v, err := kind.parse(n.text)
	if err != nil {
		var f fault
		if !errors.As(err, &f) {
			f.label = err.Error()
		}
		d.errorAt(at, fmt.Sprintf("%q wants %s", e.name, kind.noun), f.label, f.note)
		return false
	}
	if len(f.oneof) > 0 && !slices.Contains(f.oneof, n.text) {
		note := ""
		if near := nearest(n.text, f.oneof); near != "" {
			note = fmt.Sprintf("did you mean %q?", near)
		}
		d.errorAt(at, fmt.Sprintf("unknown %s %q", e.name, n.text), "possible: "+strings.Join(f.oneof, ", "), note)
		return false
	}
	into.Set(reflect.ValueOf(v).Convert(into.Type()))
	switch {
	case f.min != "" && into.Int() < kind.limit(f.min):
		d.errorAt(at, fmt.Sprintf("%q is too small", e.name), "at least "+f.min)
		return false
	case f.max != "" && into.Int() > kind.limit(f.max):
		d.errorAt(at, fmt.Sprintf("%q is too large", e.name), "at most "+f.max)
		return false
	}
	return true
}

// wants reports a value of the wrong type.
func (d *decoder) wants(e entry, noun, note string) bool {
	message := fmt.Sprintf("%q wants %s, found %s", e.name, noun, nouns[e.node.kind])
	d.errorAt(d.pos(e.node.at), message, "not "+noun, note)
	return false
}

var nouns = map[unstable.Kind]string{
	unstable.Array:         "a list",
	unstable.InlineTable:   "a table",
	unstable.String:        "a string",
	unstable.Bool:          "a boolean",
	unstable.Float:         "a number with a fraction",
	unstable.Integer:       "an integer",
	unstable.LocalDate:     "a date",
	unstable.LocalTime:     "a time",
	unstable.LocalDateTime: "a date with time",
	unstable.DateTime:      "a date with time",
}

func joinKey(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + bareKey(name)
}

// bareKey returns name as a key is written, in quotes if it needs them.
func bareKey(name string) string {
	for _, c := range name {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return strconv.Quote(name)
		}
	}
	return name
}
