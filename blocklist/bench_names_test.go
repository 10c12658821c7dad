package blocklist

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkNames measures what lists of a million and of five million names take, from text and from the compiled form,
// and what a decision over them takes. With names like those of lists, or, of the files or folder that the environment
// variable WEIR_NAMES names, with those:
//
//	go test ./blocklist -run '^$' -bench Names -benchtime 2s
func BenchmarkNames(b *testing.B) {
	for _, n := range []int{1_000_000, 5_000_000} {
		b.Run(fmt.Sprintf("%dM", n/1_000_000), func(b *testing.B) {
			if n > 1_000_000 && testing.Short() {
				b.Skip("takes a minute")
			}
			dir := b.TempDir()
			list := filepath.Join(dir, "list.txt")
			writeNames(b, list, n)
			cfg := LoadConfig{
				Categories: []CategoryConfig{{Name: "ads", Sources: Sources(list)}}, State: filepath.Join(dir, "state"), Workers: 2,
			}
			if err := os.Mkdir(cfg.State, 0o700); err != nil {
				b.Fatal(err)
			}
			load := func(b *testing.B) *Lists {
				lists, err := Load(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				if err := lists.Commit(); err != nil {
					b.Fatal(err)
				}
				return lists
			}
			b.Run("text", func(b *testing.B) {
				for b.Loop() {
					if err := os.RemoveAll(filepath.Join(cfg.State, "names")); err != nil {
						b.Fatal(err)
					}
					load(b)
				}
			})
			lists := load(b)
			b.Run("compiled", func(b *testing.B) {
				for b.Loop() {
					load(b)
				}
				names := float64(lists.matcher.Names())
				b.ReportMetric(float64(lists.matcher.Bytes())/names, "memory-B/name")
				info, err := os.Stat(filepath.Join(cfg.State, "names"))
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(info.Size())/names, "disk-B/name")
			})
			p, err := Compile([]PolicyConfig{
				{Name: "all", Any: true, Rules: []RuleConfig{{Action: ActionBlock, Categories: []string{"ads"}}}},
			}, lists, time.Time{})
			if err != nil {
				b.Fatal(err)
			}
			listed := namesFor(b, n)
			r := rand.New(rand.NewPCG(11, uint64(n)))
			// More than any cache keeps of the matcher; the names themselves lie in a row, as one that just came in
			// is at hand.
			const asked = 1 << 18
			var hits, misses queries
			for range asked {
				hits.add(append([]byte("\x03www"), listed[r.IntN(n)]...))
				misses.add(fmt.Appendf(nil, "\x03www\x06h%05d\x0an-%08d\x03com\x00", r.IntN(100_000), r.IntN(100_000_000)))
			}
			listed = nil
			for _, c := range []struct {
				what  string
				names queries
				want  Verdict
			}{{"miss", misses, Allow}, {"hit", hits, Block}} {
				b.Run(c.what, func(b *testing.B) {
					b.ReportAllocs()
					at := 0
					for b.Loop() {
						if at == len(c.names) {
							at = 0
						}
						end := at + 1 + int(c.names[at])
						if p.Decide(ask(c.names[at+1:end], 1, client)).Verdict != c.want {
							b.Fatalf("wrong verdict on %q", c.names[at+1:end])
						}
						at = end
					}
				})
			}
		})
	}
}

// queries are wire names in a row, each after its length.
type queries []byte

func (q *queries) add(name []byte) { *q = append(append(*q, byte(len(name))), name...) }
