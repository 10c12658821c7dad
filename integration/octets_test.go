package integration

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdSend prints a line with header and rcode, one per question and per record,
// or "no answer" if there was none before that of the sentinel.
func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, anyNumber, "send [-tcp] HEX…")
	network := "udp"
	if args[0] == "-tcp" {
		network, args = "tcp", args[1:]
	}
	msg, err := octets(args)
	ts.Check(err)
	conn, err := net.Dial(network, ts.Getenv("ADDR"))
	ts.Check(err)
	c := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	defer c.Close()
	_, err = c.Write(msg)
	ts.Check(err)
	ts.Check(c.WriteMsg(sentinel()))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	m, err := c.ReadMsg()
	ts.Check(err)
	if m.Id == sentinelID {
		fmt.Fprintln(ts.Stdout(), "no answer")
		return
	}
	fmt.Fprint(ts.Stdout(), bare(m))
}

// octets reads hexadecimal words; those of a word HEX*N come N times.
func octets(words []string) (out []byte, err error) {
	for _, word := range words {
		digits, times, repeated := strings.Cut(word, "*")
		n := 1
		if repeated {
			if n, err = strconv.Atoi(times); err != nil {
				return nil, err
			}
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", word, err)
		}
		out = append(out, bytes.Repeat(b, n)...)
	}
	return out, nil
}

// bare writes an answer to octets as text.
func bare(m *dns.Msg) string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "id %04x opcode %d %s\n", m.Id, m.Opcode, rcode(m))
	for _, q := range m.Question {
		fmt.Fprintf(&out, "question %s %s %s\n", q.Name, dns.Class(q.Qclass), dns.Type(q.Qtype))
	}
	section(&out, "answer", m.Answer)
	section(&out, "authority", m.Ns)
	section(&out, "additional", m.Extra)
	return out.String()
}

// cmdStream sends what FILE holds, a line each, over one TCP connection, in one
// write or, with -octets, in one for each octet, and then closes its side:
//
//	NAME TYPE [OPTIONS]  a question as of ask, behind its length
//	octets HEX…          octets as they are, written as for send: length and message, or less
//
// When weir has closed the other side, it prints each question with its answer
// or "no answer", in the order of the file and not of the answers, and below
// them, in the order of their IDs, the answers to octets as send prints them; "no
// answer" if there was nothing of either.
func cmdStream(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 2, "stream [-octets] FILE")
	file := args[len(args)-1]
	var asked []*asker // the question with the ID i+1 is asked[i]
	var lines []string
	var data []byte
	for line := range strings.Lines(ts.ReadFile(file)) {
		words := strings.Fields(line)
		if words[0] == "octets" {
			more, err := octets(words[1:])
			ts.Check(err)
			data = append(data, more...)
			continue
		}
		a := parseAsk(ts, words)
		asked, lines = append(asked, a), append(lines, strings.Join(words, " "))
		a.q.Id = uint16(len(asked))
		packed, err := a.q.Pack()
		ts.Check(err)
		data = append(append(data, byte(len(packed)>>8), byte(len(packed))), packed...)
	}
	step := len(data)
	if len(args) > 1 {
		step = 1
	}
	answers, err := exchange(ts.Getenv("ADDR"), slices.Collect(slices.Chunk(data, step)))
	ts.Check(err)
	if len(asked)+len(answers) == 0 {
		fmt.Fprintln(ts.Stdout(), "no answer")
	}
	for i, a := range asked {
		fmt.Fprintln(ts.Stdout(), "asked", lines[i])
		text := "no answer\n"
		if m := answers[a.q.Id]; m != nil {
			text = shown(a.q, m)
			delete(answers, a.q.Id)
		}
		fmt.Fprint(ts.Stdout(), text)
	}
	for _, m := range sorted(answers) {
		fmt.Fprint(ts.Stdout(), bare(m))
	}
}

func sorted(answers map[uint16]*dns.Msg) (out []*dns.Msg) {
	for _, m := range answers {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *dns.Msg) int { return int(a.Id) - int(b.Id) })
	return out
}

// exchange writes pieces to a connection of its own and returns, by their IDs,
// the messages that come until the other side closes it.
func exchange(server string, pieces [][]byte) (map[uint16]*dns.Msg, error) {
	conn, err := net.Dial("tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	for _, piece := range pieces {
		if _, err := conn.Write(piece); err != nil {
			break // it has closed before the end, and what it said may still be read
		}
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	c := &dns.Conn{Conn: conn}
	answers := map[uint16]*dns.Msg{}
	for {
		m, err := c.ReadMsg()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET): // with octets unread, closing is a reset
			return answers, nil
		case err != nil:
			return nil, err
		case answers[m.Id] != nil:
			return nil, fmt.Errorf("two answers with the id %04x", m.Id)
		}
		answers[m.Id] = m
	}
}
