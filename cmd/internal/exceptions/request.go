package exceptions

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// check refuses what no exception can be made of, and returns for whom and for
// which name it is, alike however that is written.
func (q *Request) check() (target, error) {
	for _, text := range [...]struct {
		what, text string
		least      int
		most       int
	}{
		{"name", q.Name, 1, maxName},
		{"client", q.Client, 0, maxWho},
		{"group", q.Group, 0, maxWho},
		{"reason", q.Reason, 1, maxReason},
		{"name of who says so", q.By, 1, maxBy},
	} {
		if err := checkText(text.what, text.text, text.least, text.most); err != nil {
			return target{}, &RefusedError{Reason: err.Error()}
		}
	}
	switch {
	case q.Client == "" && q.Group == "":
		return target{}, &RefusedError{Reason: "the exception is for nobody", Hint: "name a client or a group"}
	case q.Client != "" && q.Group != "":
		return target{}, &RefusedError{Reason: "the exception is for a client and for a group", Hint: "name one of them"}
	case q.Client != "":
		if _, err := prefixOf(q.Client); err != nil {
			return target{}, &RefusedError{Reason: err.Error()}
		}
	}
	return targetOf(q.Name, q.Client, q.Group), checkDuration(q.For)
}

// checkText says what is wrong with a text of so many octets.
func checkText(what, text string, least, most int) error {
	switch {
	case len(text) < least:
		return fmt.Errorf("the %s is missing", what)
	case len(text) > most:
		return fmt.Errorf("the %s has %d octets, the most is %d", what, len(text), most)
	case !utf8.ValidString(text):
		return fmt.Errorf("the %s is not UTF-8", what)
	}
	return nil
}

// checkSaid checks what Extend and Remove are told.
func checkSaid(by, reason string) error {
	if err := checkText("reason", reason, 1, maxReason); err != nil {
		return &RefusedError{Reason: err.Error()}
	}
	if err := checkText("name of who says so", by, 1, maxBy); err != nil {
		return &RefusedError{Reason: err.Error()}
	}
	return nil
}

func checkDuration(d time.Duration) error {
	if d <= 0 || d%time.Second != 0 {
		return &RefusedError{
			Reason: fmt.Sprintf("the duration %s is not a positive number of whole seconds", short(d)),
			Hint:   `write it like "2h" or "30m"`,
		}
	}
	return nil
}

// A target is what two exceptions in force must not share.
type target struct{ name, client, group string }

func targetOf(name, client, group string) target {
	if p, err := prefixOf(client); err == nil {
		client = p.String()
	}
	if len(name) > 1 {
		name = strings.TrimSuffix(name, ".")
	}
	return target{strings.ToLower(name), client, group}
}

// prefixOf reads an address or a prefix.
func prefixOf(client string) (netip.Prefix, error) {
	var p netip.Prefix
	if a, err := netip.ParseAddr(client); err == nil && a.Zone() == "" {
		p = netip.PrefixFrom(a, a.BitLen())
	} else if p, err = netip.ParsePrefix(client); err != nil {
		return p, fmt.Errorf("the client %q is neither an address nor a prefix", client)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// short is the duration without the units that are zero at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
