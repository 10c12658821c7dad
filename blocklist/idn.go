package blocklist

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	reasonUTF8   = "not UTF-8"
	reasonIDN    = "Unicode name that needs normalisation (write its labels in their xn-- form)"
	reasonIDNMix = "escape or xn-- label in a Unicode name"
)

// plainLetters are the letters whose UTS #46 mapping is their own lower case, which Unicode normalisation (NFC) never
// changes, and which it never joins with a neighbour. A name of these, ASCII and full stops alone needs no more
// than lower case to be in its mapped form, so its A-label is exact. All other names are refused, not guessed.
var plainLetters = [...][2]rune{
	{0x00df, 0x00f6}, {0x00f8, 0x012f}, {0x0131, 0x0131}, {0x0134, 0x013e}, {0x0141, 0x0148}, {0x014a, 0x017e}, // Latin
	{0x0180, 0x01c3}, {0x01cd, 0x01f0}, {0x01f4, 0x024f}, {0x0250, 0x02af}, {0x1e00, 0x1e99}, {0x1e9f, 0x1eff},
	{0x0390, 0x03a1}, {0x03a3, 0x03ce}, // Greek
	{0x0430, 0x045f}, {0x0461, 0x0481}, {0x048b, 0x04bf}, {0x04c2, 0x052f}, // Cyrillic
	{0x0561, 0x0586},                   // Armenian
	{0x05d0, 0x05ea},                   // Hebrew
	{0x0621, 0x063f}, {0x0641, 0x064a}, // Arabic
	{0x0671, 0x0674}, {0x0679, 0x06d3}, {0x0660, 0x0669}, {0x06f0, 0x06f9},
	{0x0e01, 0x0e30}, {0x0e40, 0x0e46}, {0x0e50, 0x0e59}, // Thai
	{0x10d0, 0x10fa},                                                       // Georgian
	{0x3005, 0x3007}, {0x3041, 0x3096}, {0x30a1, 0x30fa}, {0x30fc, 0x30fe}, // Kana
	{0x3400, 0x4dbf}, {0x4e00, 0x9fff}, // Han
	{0xac00, 0xd7a3}, // Hangul
}

// asciiForm returns a Unicode name with its labels as A-labels (RFC 5890 §2.3.2.1, mapped by UTS #46), or the reason
// why it cannot.
func asciiForm(text []byte) (ascii []byte, reason string) {
	if !utf8.Valid(text) {
		return nil, reasonUTF8
	}
	if len(text) > 4*maxName { // no A-label is shorter than a quarter of its UTF-8
		return nil, reasonLongName
	}
	mapped := strings.Map(func(r rune) rune {
		switch r {
		case 0x3002, 0xff0e, 0xff61: // the full stops of UTS #46
			return '.'
		case 0x0130, 0x04c0, 0x1e9e: // mapped to something other than their lower case
			return r
		}
		return unicode.ToLower(r)
	}, string(text))
	for i, label := range strings.Split(mapped, ".") {
		if i > 0 {
			ascii = append(ascii, '.')
		}
		if ascii, reason = appendALabel(ascii, label); reason != "" {
			return nil, reason
		}
	}
	return ascii, ""
}

func appendALabel(dst []byte, label string) (out []byte, reason string) {
	unicodeLabel := false
	for _, r := range label {
		if r == '\\' {
			return dst, reasonIDNMix
		}
		if r < utf8.RuneSelf {
			continue
		}
		unicodeLabel = true
		if !plain(r) {
			return dst, reasonIDN
		}
	}
	if !unicodeLabel {
		return append(dst, label...), ""
	}
	if strings.HasPrefix(label, "xn--") {
		return dst, reasonIDNMix
	}
	return appendPunycode(append(dst, "xn--"...), []rune(label)), ""
}

func plain(r rune) bool {
	for _, span := range plainLetters {
		if span[0] <= r && r <= span[1] {
			return true
		}
	}
	return false
}

// appendPunycode appends the encoding of label by RFC 3492 §6.3. A label is far too short to overflow its arithmetic.
func appendPunycode(dst []byte, label []rune) []byte {
	const base, tMin, tMax, skew, damp = 36, 1, 26, 38, 700
	done := 0
	for _, r := range label {
		if r < utf8.RuneSelf {
			dst = append(dst, byte(r))
			done++
		}
	}
	basic := done
	if basic > 0 {
		dst = append(dst, '-')
	}
	n, delta, bias := rune(128), 0, 72
	for done < len(label) {
		next := rune(math.MaxInt32)
		for _, r := range label {
			if r >= n {
				next = min(next, r)
			}
		}
		delta += int(next-n) * (done + 1)
		n = next
		for _, r := range label {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := base; ; k += base {
				t := min(max(k-bias, tMin), tMax)
				if q < t {
					dst = append(dst, punycodeDigit(q))
					break
				}
				dst = append(dst, punycodeDigit(t+(q-t)%(base-t)))
				q = (q - t) / (base - t)
			}
			// adapt the bias, RFC 3492 §6.1
			if done == basic {
				delta /= damp
			} else {
				delta /= 2
			}
			done++
			delta += delta / done
			k := 0
			for ; delta > (base-tMin)*tMax/2; k += base {
				delta /= base - tMin
			}
			bias = k + (base-tMin+1)*delta/(delta+skew)
			delta = 0
		}
		delta++
		n++
	}
	return dst
}

func punycodeDigit(d int) byte {
	if d < 26 {
		return byte('a' + d)
	}
	return byte('0' + d - 26)
}
