package blocklist

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	reasonUTF8   = "not UTF-8"
	reasonIDN    = "Unicode name that IDNA does not allow"
	reasonIDNMix = "escape in a Unicode name"
)

// lookup maps names by UTS #46 without its rules for host names: underscores and
// hyphens in any place are common in the DNS.
var lookup = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))

// asciiForm returns a Unicode name with its labels as A-labels (RFC 5890 §2.3.2.1, mapped by UTS #46), or the reason
// why it cannot.
func asciiForm(text []byte) (ascii []byte, reason string) {
	switch {
	case !utf8.Valid(text):
		return nil, reasonUTF8
	case len(text) > 4*maxName: // no A-label is shorter than a quarter of its UTF-8
		return nil, reasonLongName
	case bytes.IndexByte(text, '\\') >= 0:
		return nil, reasonIDNMix
	}
	name, err := lookup.ToASCII(string(text))
	if err != nil {
		return nil, reasonIDN
	}
	return []byte(name), ""
}
