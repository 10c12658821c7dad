package audit

import "fmt"

// provePacked proves that a pack has the records of the segments that it was made of: it reads
// it as anybody will, and holds the root of each segment's records against that which they had.
func provePacked(u *unpacker, pack []byte, made []packedFront, pause func()) error {
	b := new(block)
	if _, _, err := u.openBlock(b, pack, nil); err != nil {
		return err
	}
	if err := b.decode(true); err != nil {
		return err
	}
	pause()
	fronts, err := u.fronts(&b.header, pack)
	if err != nil {
		return err
	}
	if len(fronts) != len(made) {
		return fmt.Errorf("it has %d segments instead of %d", len(fronts), len(made))
	}
	from := 0
	for i := range fronts {
		f := &fronts[i]
		if *f != made[i] {
			return fmt.Errorf("segment %d: its front is another", made[i].header.first)
		}
		if b.root(&f.header, from) != f.root {
			return fmt.Errorf("segment %d: %w", f.header.first, errUnlike)
		}
		from += int(f.header.count)
		pause()
	}
	return nil
}
