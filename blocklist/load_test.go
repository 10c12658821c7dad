package blocklist

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lay writes files, given by their paths below a new directory, and returns it.
func lay(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var someFiles = map[string]string{
	"ads.txt":                    "# ads\nads.example\n*.track.example\n=track.example\nads.example\nshared.example\n",
	"more/hosts":                 "0.0.0.0 shared.example\n",
	"more/adblock.txt":           "||banner.example^\n@@||ok.banner.example^\n||x.ok.banner.example^\n@@||never.example^\n",
	"more/README.md":             "no list\n",
	"more/.hidden":               "<html>\n",
	"ut1/global_usage":           "NAME: x\n",
	"ut1/vpn/domains":            "vpn.example\n192.0.2.1\n",
	"ut1/vpn/urls":               "a.example/x\nb.example/y\n# c\n",
	"ut1/vpn/usage":              "# for\nblack\nwhite\n",
	"ut1/vpn/expressions":        "^x$",
	"ut1/adult/urls":             "a.example/x\n",
	"ut1/adult/usage":            "black\n",
	"page.txt":                   "<html>\n",
	"empty/.keep":                "",
	"nested/list":                "a.example\n",
	"nested/folder/list":         "a.example\n",
	"odd[1].txt":                 "bracket.example\n",
	"unreadable/prose.txt":       "these are\nmany words\n",
	"testing/unicode-and-crlf":   "\xef\xbb\xbfBÜCHER.example\r\n",
	"testing/another-list-there": "z.example\n",
}

func load(t testing.TB, dir string, categories ...CategoryConfig) *Lists {
	t.Helper()
	lists, err := Load(context.Background(), LoadConfig{Categories: categories, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return lists
}

func TestLoad(t *testing.T) {
	dir := lay(t, someFiles)
	lists := load(t, dir,
		CategoryConfig{Name: "ads", Sources: Sources("ads.txt", "more", "./ads.txt", "*.tx?/", "odd[1].txt")[:3]},
		CategoryConfig{Name: "ut1", Sources: Sources("ut1/*", filepath.Join(dir, "odd[1].txt"))},
		CategoryConfig{Name: "rest", Sources: Sources("testing")},
	)
	var names []string
	for _, l := range lists.All() {
		names = append(names, l.Category+" "+l.Name+" "+l.Format)
	}
	want := []string{
		"ads ads.txt domains", "ads more/adblock.txt adblock", "ads more/hosts hosts",
		"ut1 ut1/adult ut1", "ut1 ut1/vpn ut1", "ut1 " + filepath.Join(dir, "odd[1].txt") + " domains",
		"rest testing/another-list-there domains", "rest testing/unicode-and-crlf domains",
	}
	if !slices.Equal(names, want) {
		t.Fatalf("lists %q, want %q", names, want)
	}
	var counts []int
	for _, c := range lists.Categories() {
		counts = append(counts, c.Names)
	}
	// ads.example, track.example, shared.example, banner.example, x.ok.banner.example; exceptions do not count
	if want := []int{5, 2, 2}; !slices.Equal(counts, want) {
		t.Errorf("names per category %v, want %v", counts, want)
	}

	ads := lists.All()[0]
	info, err := os.Stat(ads.File)
	if err != nil {
		t.Fatal(err)
	}
	if ads.Digest != sha256.Sum256([]byte(someFiles["ads.txt"])) || ads.Bytes != info.Size() || !ads.Modified.Equal(info.ModTime()) {
		t.Errorf("digest, size or time of %+v", ads)
	}
	if ads.Lines != 6 || ads.Comments != 1 || ads.Entries != 3 || ads.Duplicates != 2 {
		t.Errorf("counts of %+v", ads)
	}
	vpn := lists.All()[4]
	wantIgnored := []Ignored{
		{"line of urls: not enforceable in DNS", 2}, {ignoredAddress, 1}, {"line of expressions: not enforceable in DNS", 1},
	}
	if vpn.Usage != "black white" || !slices.Equal(vpn.Ignored, wantIgnored) || vpn.Entries != 1 {
		t.Errorf("UT1 list %+v", vpn)
	}
	if adult := lists.All()[3]; adult.File != "" || adult.Entries != 0 || len(adult.Ignored) != 1 || adult.Format != "ut1" {
		t.Errorf("UT1 list without domains %+v", adult)
	}
	if m := lists.Matcher(); m.Names() != 11 || m.Bytes() < 11*8 {
		t.Errorf("%d names in %d octets", m.Names(), m.Bytes())
	}
}

func TestFindAndLocate(t *testing.T) {
	dir := lay(t, someFiles)
	lists := load(t, dir, CategoryConfig{Name: "ads", Sources: Sources("ads.txt", "more")}, CategoryConfig{Name: "u", Sources: Sources("testing", "ut1/vpn")})
	type holding struct {
		list, entry          string
		exception, effective bool
		line                 int
	}
	for _, c := range []struct {
		name string
		want []holding
	}{
		{"nothing.example", nil},
		{"shared.example", []holding{{"ads.txt", "shared.example", false, true, 6}, {"more/hosts", "=shared.example", false, true, 1}}},
		{"www.shared.example", []holding{{"ads.txt", "shared.example", false, true, 6}}},
		{"track.example", []holding{{"ads.txt", "track.example", false, true, 3}}},
		{"x.ok.banner.example", []holding{
			{"more/adblock.txt", "x.ok.banner.example", false, true, 3},
			{"more/adblock.txt", "@@ok.banner.example", true, false, 2},
			{"more/adblock.txt", "banner.example", false, false, 1},
		}},
		{"bücher.example", []holding{{"testing/unicode-and-crlf", "xn--bcher-kva.example", false, true, 1}}},
		{"a.vpn.example", []holding{{"ut1/vpn", "vpn.example", false, true, 1}}},
	} {
		var got []holding
		for _, h := range lists.Find(wire(t, c.name)) {
			line, err := lists.Locate(h.List, h.Entry)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			got = append(got, holding{h.List.Name, h.Entry, h.Exception, h.Effective, line})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}

	ads := lists.All()[0]
	if _, err := lists.Locate(ads, "a..b"); err == nil {
		t.Error("a..b is located")
	}
	if err := os.WriteFile(ads.File, []byte("other.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if line, err := lists.Locate(ads, "ads.example"); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("line %d, %v", line, err)
	}
	if err := os.Remove(ads.File); err != nil {
		t.Fatal(err)
	}
	if line, err := lists.Locate(ads, "ads.example"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("line %d, %v", line, err)
	}
}

func TestLoadTellsAllMistakes(t *testing.T) {
	dir := lay(t, someFiles)
	_, err := Load(context.Background(), LoadConfig{Categories: []CategoryConfig{
		{Name: "a", Pos: "c:1", Sources: Sources("ads.txt", "missing.txt", "page.txt", "no*match")},
		{Name: "a", Pos: "c:2", Sources: Sources("ads.txt")},
		{Name: "b", Pos: "c:3"},
		{Name: "c", Pos: "c:4", Sources: Sources("https://lists.example/x", "nested", "empty", "unreadable/*", "", "bad[glob")},
		{Pos: "c:5", Sources: Sources("ads.txt")},
	}, Dir: dir})
	if err == nil {
		t.Fatal("no error")
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is no joined error", err)
	}
	want := []string{
		`c:1: category "a": source "missing.txt": does not exist; check the path`,
		`c:1: category "a": source "page.txt": is a web page and no list; download the list itself`,
		`c:1: category "a": source "no*match": matches no file`,
		`c:2: second category named "a"`,
		`c:3: category "b" has no sources`,
		`c:4: category "c": source "nested": holds the directory folder, which would not be read`,
		`c:4: category "c": source "empty": holds no file`,
		`c:4: category "c": source "unreadable/prose.txt": holds no readable line as domains list`,
		`c:4: category "c": source "": is empty`,
		`c:4: category "c": source "bad[glob": is no valid glob`,
		`c:5: category without a name`,
	}
	got := joined.Unwrap() // what is wrong inside of files comes last
	slices.SortFunc(got, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	slices.Sort(want)
	for i := range max(len(want), len(got)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i].Error(), want[i]) {
			t.Fatalf("mistakes:\n%v\nwant:\n%s", err, strings.Join(want, "\n"))
		}
		if c := (*ConfigError)(nil); !errors.As(got[i], &c) || c.Pos == "" {
			t.Errorf("%v has no position", got[i])
		}
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := lay(t, map[string]string{"list": strings.Repeat("a.example\n", 10_000)})
	if _, err := Load(ctx, LoadConfig{Categories: []CategoryConfig{{Name: "a", Sources: Sources("list")}}, Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestLoadOfNothing(t *testing.T) {
	lists := load(t, "")
	if len(lists.All()) != 0 || lists.Find(wire(t, "a.example")) != nil {
		t.Fatal("there are lists")
	}
}

// TestUT1Aliases reads a category by its other names: a symbolic link, and what is left of one where there are none.
func TestUT1Aliases(t *testing.T) {
	dir := lay(t, map[string]string{
		"ut1/publicite/domains": "track.example\n", "ut1/publicite/usage": "black\n", "ut1/ads": "publicite", "ut1/words": "publicity",
	})
	if err := os.Symlink("publicite", filepath.Join(dir, "ut1/pub")); err != nil {
		t.Fatal(err)
	}
	for _, alias := range []string{"ut1/ads", "ut1/pub", "ut1/publicite"} {
		lists := load(t, dir, CategoryConfig{Name: "x", Sources: Sources(alias)})
		if got := says(lists, "www.track.example"); got != "x/"+alias+":track.example:true" || lists.All()[0].Format != "ut1" {
			t.Errorf("%s: %s", alias, got)
		}
	}
	all := load(t, dir, CategoryConfig{Name: "x", Sources: Sources("ut1/*")}).All()
	if len(all) != 2 || all[0].Name != "ut1/ads" || all[0].Entries != 1 || all[1].Name != "ut1/words" {
		t.Errorf("%d lists, the first %+v", len(all), all[0])
	}
}
