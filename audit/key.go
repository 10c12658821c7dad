package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// The key that signs checkpoints lies beside the store, as one line in the form of
// signed notes (golang.org/x/mod/sumdb/note): it is made when a log is first opened.
// Its name is that of the log, and begins each checkpoint. The public keys, of this one
// and of those before it, are the lines of a file that all may read.
const (
	keyFile    = "audit.key"
	publicFile = "audit.pub"
	keyPrefix  = "weir-audit-"
)

// A signingKey signs what the log states.
type signingKey struct {
	note.Signer
	public  string // for note.NewVerifier
	private ed25519.PrivateKey
}

// openKey reads the key in dir or makes one, which fresh then says. One that cannot be
// read is damage.
func openKey(dir string) (key *signingKey, fresh bool, err error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key, err = makeKey(path)
		return key, err == nil, err
	case err != nil:
		return nil, false, fmt.Errorf("open audit key: %w", err)
	}
	if key, err = parseKey(string(bytes.TrimSuffix(text, []byte("\n")))); err != nil {
		return nil, false, damaged(path, "reading it", err)
	}
	return key, false, nil
}

func makeKey(path string) (*signingKey, error) {
	var name [4]byte
	rand.Read(name[:])
	text, _, err := note.GenerateKey(rand.Reader, keyPrefix+hex.EncodeToString(name[:]))
	if err != nil {
		return nil, fmt.Errorf("make audit key: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("make audit key: %w", err)
	}
	public := filepath.Join(filepath.Dir(path), publicFile)
	before, err := os.ReadFile(public)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make audit key: %w", err)
	}
	err = writeWhole(public, append(before, key.public+"\n"...))
	if err == nil {
		if err = writeWhole(path, []byte(text+"\n")); err != nil {
			_ = writeWhole(public, before) // it will be tried again, with another key
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make audit key: %w", err)
	}
	return key, nil
}

// PublicKeys returns the keys that have signed the log in dir, the newest last.
func PublicKeys(dir string) ([]*PublicKey, error) {
	path := filepath.Join(dir, publicFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read audit keys: %w", err)
	}
	var keys []*PublicKey
	for line := range strings.Lines(string(text)) {
		key, err := ParsePublicKey(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, damaged(path, fmt.Sprintf("line %d", len(keys)+1), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// writeWhole writes a file that only its owner may read: whole and on disk, or not at all.
func writeWhole(path string, data []byte) error {
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+newSuffix, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+newSuffix))
	}
	return syncDir(filepath.Dir(path))
}

func parseKey(text string) (*signingKey, error) {
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, errors.New("it is no key for signed notes")
	}
	parts := strings.Split(text, "+")
	seed, err := base64.StdEncoding.DecodeString(strings.Join(parts[4:], "+"))
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("it is no Ed25519 key for signed notes")
	}
	private := ed25519.NewKeyFromSeed(seed[1:])
	public, err := note.NewEd25519VerifierKey(signer.Name(), private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &signingKey{signer, public, private}, nil
}

// text is what parseKey reads.
func (k *signingKey) text() string {
	seed := append([]byte{1}, k.private.Seed()...) // 1 is Ed25519
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", k.Name(), k.KeyHash(), base64.StdEncoding.EncodeToString(seed))
}

// segmentMessage is what a segment's own signature is about: so that one which was made
// again without the key is found by itself, not only somewhere between two checkpoints.
func segmentMessage(leaf hash) []byte { return append([]byte("weir audit segment\n"), leaf[:]...) }

func (k *signingKey) signSegment(leaf hash) []byte {
	return ed25519.Sign(k.private, segmentMessage(leaf))
}

// packMessage is what is signed of a pack, so that who is in a hurry need not prove its
// records by the roots of their segments.
func packMessage(body hash) []byte { return append([]byte("weir audit pack\n"), body[:]...) }

func (k *signingKey) signPack(body hash) []byte { return ed25519.Sign(k.private, packMessage(body)) }

// A PublicKey proves what a log has signed. Its text form is that of signed notes:
// name, hash and key, with "+" between.
type PublicKey struct {
	text     string
	verifier note.Verifier
	key      ed25519.PublicKey
}

// ParsePublicKey reads the text form of a key.
func ParsePublicKey(text string) (*PublicKey, error) {
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, errors.New("audit key: it does not look like NAME+HASH+KEY")
	}
	parts := strings.SplitN(text, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize {
		return nil, errors.New("audit key: it is no Ed25519 key")
	}
	return &PublicKey{text, verifier, key[1:]}, nil
}

func (k *PublicKey) String() string { return k.text }

// Fingerprint is the SHA-256 of the text form, in hexadecimal, for reading aloud.
func (k *PublicKey) Fingerprint() string {
	sum := sha256.Sum256([]byte(k.text))
	return hex.EncodeToString(sum[:])
}

func (k *PublicKey) signed(leaf hash, signature []byte) bool {
	return ed25519.Verify(k.key, segmentMessage(leaf), signature)
}

func (k *PublicKey) signedPack(body hash, signature []byte) bool {
	return ed25519.Verify(k.key, packMessage(body), signature)
}
