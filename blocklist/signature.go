package blocklist

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"aead.dev/minisign"
)

// proofs are what a download must have: a digest, a signature. What is empty is not asked for.
type proofs struct {
	sha256   []byte
	minisign *minisign.PublicKey // of the signature at the list's URL and ".minisig"
	ed25519  ed25519.PublicKey   // of that at the URL and ".sig"
}

const (
	maxSignature = 16 << 10 // octets of the file of a signature
	// An Ed25519 signature of the text itself, not of its hash, can only be checked with all of the text in memory.
	maxSignedWhole = 64 << 20
)

func parseProofs(src *SourceConfig) (p proofs, err error) {
	if src.SHA256 != "" {
		if p.sha256, err = hex.DecodeString(src.SHA256); err != nil || len(p.sha256) != sha256.Size {
			return p, errors.New("sha256 is not of 64 hexadecimal digits, as sha256sum(1) prints them")
		}
	}
	if src.Minisign != "" {
		p.minisign = new(minisign.PublicKey)
		if err := p.minisign.UnmarshalText([]byte(strings.TrimSpace(src.Minisign))); err != nil {
			return p, errors.New(`minisign is no public key; write the line that begins with "RW" in its file`)
		}
	}
	if src.Ed25519 != "" {
		if p.ed25519, err = base64.StdEncoding.DecodeString(src.Ed25519); err != nil || len(p.ed25519) != ed25519.PublicKeySize {
			return p, errors.New("ed25519 is no public key; write its 32 octets in base64")
		}
	}
	return p, nil
}

// checkDigest compares the digest of a list with the one it must have.
func (p *proofs) checkDigest(digest [32]byte) error {
	if p.sha256 != nil && [32]byte(p.sha256) != digest {
		return fmt.Errorf("its SHA-256 is %x and not %x; if it was meant to change, change sha256 in the configuration", digest, p.sha256)
	}
	return nil
}

// checkMinisign checks a signature of minisign(1), of either kind: of the text's BLAKE2b-512 hash, as it has made them
// since 2021, or of the text itself.
func checkMinisign(key minisign.PublicKey, signature []byte, text *os.File, size int64) error {
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return errors.New("is no minisign signature")
	}
	if s.KeyID != key.ID() {
		return fmt.Errorf("is of key %016X, and key %016X is asked for", s.KeyID, key.ID())
	}
	valid := false
	if s.Algorithm == minisign.HashEdDSA {
		in := minisign.NewReader(io.NewSectionReader(text, 0, size))
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
		valid = in.Verify(key, signature)
	} else {
		whole, err := readWhole(text, size)
		if err != nil {
			return err
		}
		valid = minisign.Verify(key, whole, signature)
	}
	if !valid {
		return errForged
	}
	return nil
}

// checkEd25519 checks a signature of the text itself (RFC 8032).
func checkEd25519(key ed25519.PublicKey, signature []byte, text *os.File, size int64) error {
	s, err := parseEd25519(signature)
	if err != nil {
		return err
	}
	whole, err := readWhole(text, size)
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, whole, s) {
		return errForged
	}
	return nil
}

// parseEd25519 reads the file of a signature: its octets as they are, or in base64.
func parseEd25519(file []byte) ([]byte, error) {
	if len(file) == ed25519.SignatureSize {
		return file, nil
	}
	s, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(file)))
	if err != nil || len(s) != ed25519.SignatureSize {
		return nil, errors.New("is no Ed25519 signature: neither 64 octets nor those in base64")
	}
	return s, nil
}

// errForged says that a signature was made over another text, or by another key.
var errForged = errors.New("is not one of this list by the key asked for; the list is not used")

func readWhole(text *os.File, size int64) ([]byte, error) {
	if size > maxSignedWhole {
		return nil, fmt.Errorf("is over all %d octets of the list, more than the %d that are checked so; "+
			"let the list be signed by minisign, over its hash", size, maxSignedWhole)
	}
	whole := make([]byte, size)
	_, err := text.ReadAt(whole, 0)
	return whole, err
}
