package gslb

import (
	"encoding/binary"
	"net/netip"
)

// Types and classes of records that are known here.
const (
	typeA     = 1
	typeNS    = 2
	typeSOA   = 6
	typeHINFO = 13
	typeTXT   = 16
	typeAAAA  = 28
	typeOPT   = 41
	typeIXFR  = 251
	typeAXFR  = 252
	typeANY   = 255

	classIN = 1
)

// Response codes.
const (
	rcodeOK       = 0
	rcodeFormat   = 1
	rcodeNoName   = 3
	rcodeNotImpl  = 4
	rcodeRefused  = 5
	rcodeVersion  = 16 // BADVERS: in the OPT record's upper bits
	headerLen     = 12
	flagQR        = 1 << 15
	flagAA        = 1 << 10
	flagTC        = 1 << 9
	flagRD        = 1 << 8
	opcodeMask    = 0xf << 11
	plainUDP      = 512  // without EDNS
	largestUDP    = 1232 // fits into any path's packets: nothing is fragmented
	optionSubnet  = 8
	longestName   = 255
	mostAdditions = 4 // additional records of a query: OPT, and nothing that we need
)

// query is what a packet asks. Its slices point into the packet.
type query struct {
	id, flags uint16
	question  []byte // name, type and class as they came, so that the case stays
	typ       uint16
	class     uint16
	lower     [longestName]byte // the name's wire form in lower case
	length    int               // of it

	edns    bool
	size    uint16 // the client's UDP buffer
	version uint8
	do      bool

	subnet      bool         // the query says where the client is
	client      netip.Prefix // then; not valid if it says "not telling"
	subnetBytes []byte       // the option's data as it came
}

// name is the name in wire form and lower case.
func (q *query) name() []byte { return q.lower[:q.length] }

// parse reads a packet. ok is false if it is no query that deserves an answer
// at all; otherwise rcode says what is wrong with it, if anything.
func (q *query) parse(p []byte) (rcode int, ok bool) {
	if len(p) < headerLen {
		return 0, false
	}
	q.id, q.flags = binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	if q.flags&flagQR != 0 {
		return 0, false // an answer; answering it could go round for ever
	}
	if q.flags&opcodeMask != 0 {
		return rcodeNotImpl, true
	}
	additions := int(binary.BigEndian.Uint16(p[10:]))
	if binary.BigEndian.Uint16(p[4:]) != 1 || additions > mostAdditions {
		return rcodeFormat, true
	}
	at, good := q.readName(p, headerLen)
	if !good || at+4 > len(p) {
		return rcodeFormat, true
	}
	q.typ, q.class = binary.BigEndian.Uint16(p[at:]), binary.BigEndian.Uint16(p[at+2:])
	at += 4
	q.question = p[headerLen:at]
	if binary.BigEndian.Uint16(p[6:]) != 0 || binary.BigEndian.Uint16(p[8:]) != 0 {
		if q.typ == typeIXFR {
			return rcodeRefused, true // it carries a SOA
		}
		return rcodeFormat, true
	}
	for range additions {
		if at = q.addition(p, at); at < 0 {
			return rcodeFormat, true
		}
	}
	if at != len(p) {
		return rcodeFormat, true
	}
	if q.edns && q.version > 0 {
		return rcodeVersion, true
	}
	return rcodeOK, true
}

// readName reads the name at at, without compression: nothing stands before a
// question that it could point to. It returns where the name ends.
func (q *query) readName(p []byte, at int) (end int, ok bool) {
	n := 0
	for {
		if at >= len(p) {
			return 0, false
		}
		l := int(p[at])
		if l > 63 || at+1+l > len(p) || n+1+l > longestName {
			return 0, false
		}
		q.lower[n] = byte(l)
		for i, c := range p[at+1 : at+1+l] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			q.lower[n+1+i] = c
		}
		n += 1 + l
		at += 1 + l
		if l == 0 {
			q.length = n
			return at, true
		}
	}
}

// addition reads the additional record at at and returns where it ends, or -1.
func (q *query) addition(p []byte, at int) int {
	root := at < len(p) && p[at] == 0
	for { // skip the name
		if at >= len(p) {
			return -1
		}
		l := int(p[at])
		if l >= 0xc0 {
			at += 2
			break
		}
		if l > 63 {
			return -1
		}
		at += 1 + l
		if l == 0 {
			break
		}
	}
	if at+10 > len(p) {
		return -1
	}
	typ, size, ttl := binary.BigEndian.Uint16(p[at:]), binary.BigEndian.Uint16(p[at+2:]), binary.BigEndian.Uint32(p[at+4:])
	end := at + 10 + int(binary.BigEndian.Uint16(p[at+8:]))
	if end > len(p) {
		return -1
	}
	if typ != typeOPT {
		return end
	}
	if q.edns || !root {
		return -1
	}
	q.edns, q.size, q.version, q.do = true, size, uint8(ttl>>16), ttl&(1<<15) != 0
	for o := p[at+10 : end]; len(o) > 0; {
		if len(o) < 4 {
			return -1
		}
		n := 4 + int(binary.BigEndian.Uint16(o[2:]))
		if n > len(o) {
			return -1
		}
		if binary.BigEndian.Uint16(o) == optionSubnet && (q.subnet || !q.readSubnet(o[4:n])) {
			return -1
		}
		o = o[n:]
	}
	return end
}

// readSubnet reads a client subnet (RFC 7871, 6).
func (q *query) readSubnet(o []byte) bool {
	if len(o) < 4 || o[3] != 0 { // the scope is ours to say
		return false
	}
	bits := int(o[2])
	var a netip.Addr
	switch binary.BigEndian.Uint16(o) {
	case 1:
		var raw [4]byte
		if bits > 32 || copy(raw[:], o[4:]) != len(o)-4 {
			return false
		}
		a = netip.AddrFrom4(raw)
	case 2:
		var raw [16]byte
		if bits > 128 || copy(raw[:], o[4:]) != len(o)-4 {
			return false
		}
		a = netip.AddrFrom16(raw)
	default:
		return false
	}
	p := netip.PrefixFrom(a, bits)
	if len(o)-4 != (bits+7)/8 || p.Masked() != p {
		return false
	}
	q.subnet, q.subnetBytes = true, o
	if bits > 0 {
		q.client = p
	}
	return true
}

// answer writes a response into a buffer that it never outgrows.
type answer struct {
	buf       []byte // its capacity is the limit, less what OPT will need
	counts    [3]uint16
	truncated bool
}

// record adds a record whose name stands at offset name of the message. data is
// added in pieces.
func (a *answer) record(section, name int, typ uint16, ttl uint32, data ...[]byte) {
	n := 0
	for _, d := range data {
		n += len(d)
	}
	if a.truncated || len(a.buf)+12+n > cap(a.buf) {
		a.truncated = true
		return
	}
	a.buf = binary.BigEndian.AppendUint16(a.buf, 0xc000|uint16(name))
	a.buf = binary.BigEndian.AppendUint16(a.buf, typ)
	a.buf = binary.BigEndian.AppendUint16(a.buf, classIN)
	a.buf = binary.BigEndian.AppendUint32(a.buf, ttl)
	a.buf = binary.BigEndian.AppendUint16(a.buf, uint16(n))
	for _, d := range data {
		a.buf = append(a.buf, d...)
	}
	a.counts[section]++
}

const (
	inAnswer = iota
	inAuthority
	inAdditional
)
