package resolver

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

// decodeOdd reads a packet that the narrow parser refused or does not know, by
// a full decoder. What wire.Admit lets pass it need not check again. An error
// means FORMERR.
func decodeOdd(q *wire.Query, msg []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("decoder: %v", v)
		}
	}()
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		return err
	}
	if len(m.Question) != 1 {
		return errors.New("not one question")
	}
	var name [256]byte
	n, err := dns.PackDomainName(m.Question[0].Name, name[:], 0, nil, false)
	if err != nil {
		return err
	}
	end := 12 + n + 4
	if end > len(msg) || !bytes.EqualFold(msg[12:12+n], name[:n]) {
		return errors.New("compressed question") // its octets could not be echoed
	}
	*q = wire.Query{
		ID: m.Id, Type: m.Question[0].Qtype, Class: m.Question[0].Qclass,
		RD: m.RecursionDesired, AD: m.AuthenticatedData, CD: m.CheckingDisabled,
	}
	for i, rr := range m.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok {
			continue // a signature, say; it is not ours to check
		}
		if q.EDNS || opt.Hdr.Name != "." || len(opt.Option) > 32 {
			return fmt.Errorf("additional record %d: a second or bad OPT", i)
		}
		q.EDNS, q.DO, q.UDPSize, q.Version = true, opt.Do(), opt.UDPSize(), opt.Version()
		told, asked := false, false
		for _, o := range opt.Option {
			switch o := o.(type) {
			case *dns.EDNS0_LOCAL:
				if o.Code != wire.OptionMAC {
					continue
				}
				if told {
					return fmt.Errorf("additional record %d: two hardware addresses", i)
				}
				if told = true; len(o.Data) == len(q.MAC) {
					q.MAC = [6]byte(o.Data)
				}
			case *dns.EDNS0_SUBNET:
				q.ECS = true
			case *dns.EDNS0_TCP_KEEPALIVE:
				if asked {
					return fmt.Errorf("additional record %d: keepalive twice", i)
				}
				asked, q.Keepalive = true, o.Timeout == 0
			case *dns.EDNS0_COOKIE:
				data, _ := hex.DecodeString(o.Cookie) // the decoder wrote it
				q.Cookie.Read(data)
			}
		}
	}
	q.Set(name[:n], end)
	return nil
}
