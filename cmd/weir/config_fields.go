package main

import (
	"reflect"
	"strings"
)

// A field is a field of a configuration struct, by what its tags say.
type field struct {
	name     string
	named    bool // by its options
	short    bool
	secret   bool
	initial  string
	min, max string
	oneof    []string
	number   int
}

func (f field) in(v reflect.Value) reflect.Value { return v.Field(f.number) }

// fieldsOf returns the fields of a struct that the file can write.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name, option, _ := strings.Cut(tag.Get("toml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields = append(fields, field{
			name: name, named: option == "named", short: option == "short", secret: option == "secret", initial: tag.Get("default"),
			min: tag.Get("min"), max: tag.Get("max"), oneof: strings.Fields(tag.Get("oneof")), number: i,
		})
	}
	return fields
}

func fieldOf(t reflect.Type, name string) (field, bool) {
	for _, f := range fieldsOf(t) {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		keys = append(keys, f.name)
	}
	return keys
}

// tablesWith returns what the tables are called that have a setting of this name: below t, whose own name is path.
func tablesWith(name string, t reflect.Type, path string) []string {
	var tables []string
	for _, f := range fieldsOf(t) {
		of, own := t.Field(f.number).Type, joinKey(path, f.name)
		header := "[" + own + "]"
		if of.Kind() == reflect.Slice {
			of, header = of.Elem(), "[["+own+"]]"
		}
		switch {
		case !isTable(of):
			continue
		case f.named:
			own += ".NAME"
			header = "[" + own + "]"
		case f.short:
			header = "an element of " + f.name
		}
		if _, ok := fieldOf(of, name); ok {
			tables = append(tables, header)
		}
		tables = append(tables, tablesWith(name, of, own)...)
	}
	return tables
}

// setDefaults fills a struct from its default tags. They are part of the program and parse, which a test asserts.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		switch into := f.in(v); {
		case isTable(into.Type()):
			setDefaults(into)
		case f.initial == "":
		case into.Kind() == reflect.Slice:
			for _, text := range strings.Fields(f.initial) {
				elem, _ := scalarOf(into.Type().Elem()).parse(text)
				into.Set(reflect.Append(into, reflect.ValueOf(elem).Convert(into.Type().Elem())))
			}
		default:
			value, _ := scalarOf(into.Type()).parse(f.initial)
			into.Set(reflect.ValueOf(value).Convert(into.Type()))
		}
	}
}
