package exceptions

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const hostile = "\x1b[2J\r\nexception 1 removed\x00\u202e" // stored as it is

func sampleInForce() *record {
	return &record{
		Exception: Exception{
			ID: 12, Name: "shop.example", Client: "10.0.4.17", Reason: "release today", By: "ann",
			Created: epoch, Until: epoch.Add(3 * time.Hour),
			Extended: []Extension{{At: epoch.Add(time.Hour), Until: epoch.Add(3 * time.Hour), By: "bob", Reason: "not yet done"}},
		},
		deadline: 4 * time.Hour,
	}
}

func sampleEnded() *record {
	return &record{
		Exception: Exception{
			ID: 1<<40 + 13, Name: "*.shop.example", Group: "build-runners", Reason: hostile, By: "ann",
			Created: epoch.Add(1), Until: epoch.Add(time.Hour),
			Ended: epoch.Add(time.Minute), End: EndRemoved, EndedBy: "bob", EndReason: "ünused",
		},
		untold: true,
	}
}

func sampleState() state {
	return state{next: 1<<40 + 14, count: 2, sum: 0x123456789, seen: reading{epoch, time.Hour}, bootID: newClock().id}
}

// The octets of the format, as in doc.go. They must not change without a new version.
func TestGolden(t *testing.T) {
	state := sampleState()
	for name, value := range map[string][]byte{
		"exception-v1.hex": sampleInForce().encode(),
		"ended-v1.hex":     sampleEnded().encode(),
		"state-v1.hex":     state.encode(),
	} {
		path := filepath.Join("testdata", name)
		got := hex.Dump(value)
		if *update {
			must(t, os.MkdirAll("testdata", 0o755))
			must(t, os.WriteFile(path, []byte(got), 0o644))
		}
		same(t, path, got, string(readFile(t, path)))
	}
}

func TestValuesComeBack(t *testing.T) {
	longest := sampleEnded()
	longest.Name, longest.Group = strings.Repeat("n", maxName), strings.Repeat("g", maxWho)
	longest.Reason, longest.By = strings.Repeat("r", maxReason), strings.Repeat("b", maxBy)
	longest.EndReason, longest.EndedBy = longest.Reason, longest.By
	for range maxExtensions {
		longest.Extended = append(longest.Extended, Extension{At: lastTime, Until: firstTime, By: longest.By, Reason: longest.Reason})
	}
	for _, r := range []*record{sampleInForce(), sampleEnded(), longest} {
		back, err := decodeRecord(r.encode())
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%+v\ncame back as\n%+v, %v", r, back, err)
		}
	}
	s := sampleState()
	if back, err := decodeState(s.encode()); err != nil || back != s {
		t.Errorf("%+v came back as %+v, %v", s, back, err)
	}
}

func TestEveryDamagedOctetOfAValueIsAnError(t *testing.T) {
	state := sampleState()
	for what, value := range map[string][]byte{"exception": sampleInForce().encode(), "ended": sampleEnded().encode(), "state": state.encode()} {
		for i := range value {
			for bit := range 8 {
				bad := bytes.Clone(value)
				bad[i] ^= 1 << bit
				if _, err := decodeRecord(bad); err == nil {
					t.Errorf("%s: octet %d, bit %d: taken for an exception", what, i, bit)
				}
				if _, err := decodeState(bad); err == nil {
					t.Errorf("%s: octet %d, bit %d: taken for a state", what, i, bit)
				}
			}
			if _, err := decodeRecord(value[:i]); err == nil {
				t.Errorf("%s: cut to %d octets it is taken for an exception", what, i)
			}
		}
	}
}

// What no exception can be is an error even if its checksum is right.
func TestWhatCannotBeIsAnError(t *testing.T) {
	for name, change := range map[string]func(r *record){
		"no ID":             func(r *record) { r.ID = 0 },
		"the last ID":       func(r *record) { r.ID = ^uint64(0) },
		"no name":           func(r *record) { r.Name = "" },
		"for nobody":        func(r *record) { r.Client = "" },
		"no reason":         func(r *record) { r.Reason = "" },
		"long reason":       func(r *record) { r.Reason = strings.Repeat("x", maxReason+1) },
		"by is not UTF-8":   func(r *record) { r.By = "\xff" },
		"before 1970":       func(r *record) { r.Created = firstTime.Add(-1) },
		"after 2199":        func(r *record) { r.Until = lastTime.Add(1) },
		"ended, how?":       func(r *record) { r.Ended, r.deadline = epoch, 0 },
		"ended, deadline":   func(r *record) { r.Ended, r.End = epoch, EndExpired },
		"untold in force":   func(r *record) { r.untold = true },
		"extended by who?":  func(r *record) { r.Extended[0].By = "" },
		"extended too much": func(r *record) { r.Extended = make([]Extension, maxExtensions+1) },
	} {
		r := sampleInForce()
		change(r)
		if _, err := decodeRecord(r.encode()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	value := sampleInForce().encode()
	body := value[:len(value)-sumSize]
	for name, bad := range map[string][]byte{
		"newer version": append([]byte("WEXC\x00\x02"), body[6:]...),
		"other magic":   append([]byte("WEXS\x00\x01"), body[6:]...),
		"more behind":   append(bytes.Clone(body), 0),
		"unknown flag":  append(append(bytes.Clone(body[:38]), 8), body[39:]...),
		"long varint":   append(append(bytes.Clone(body[:39]), 0x80|12, 0), body[40:]...),
	} {
		_, err := decodeRecord(seal(bad))
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if name == "newer version" && !strings.Contains(err.Error(), "version is 2, this program reads 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzValue feeds the decoders, behind the checksum too: they must never panic,
// what they accept must come back from the encoder octet for octet, and with one
// octet damaged it must be an error.
func FuzzValue(f *testing.F) {
	state := sampleState()
	f.Add(sampleInForce().encode(), uint16(3), byte(1))
	f.Add(sampleEnded().encode(), uint16(40), byte(0x80))
	f.Add(state.encode(), uint16(50), byte(0xff))
	f.Fuzz(func(t *testing.T, value []byte, at uint16, flip byte) {
		decodeRecord(value)
		decodeState(value)
		if len(value) < headSize+sumSize {
			return
		}
		for _, magic := range []string{recordMagic, stateMagic} {
			sealed := seal(append(begin(magic), value[headSize:len(value)-sumSize]...))
			var again []byte
			if r, err := decodeRecord(sealed); err == nil {
				again = r.encode()
			} else if s, err := decodeState(sealed); err == nil {
				again = s.encode()
			} else {
				continue
			}
			if !bytes.Equal(again, sealed) {
				t.Fatalf("%x\ncame back as\n%x", sealed, again)
			}
			if flip == 0 {
				continue
			}
			sealed[int(at)%len(sealed)] ^= flip
			_, err1 := decodeRecord(sealed)
			_, err2 := decodeState(sealed)
			if err1 == nil || err2 == nil {
				t.Fatalf("with octet %d damaged: %v, %v", int(at)%len(sealed), err1, err2)
			}
		}
	})
}
