package gslb

import (
	"encoding/binary"
	"net/netip"

	"github.com/parleyhq/parley/internal/edge"
)

// rfc8482 answers ANY: there is more, ask for it by type.
var rfc8482 = []byte("\x07RFC8482\x00")

// answer writes the response to a packet into buf and returns it, or nil if
// there is none. short makes it an empty one that asks for TCP.
func (s *Server) answer(packet []byte, from netip.Addr, draw uint64, buf []byte, tcp, short bool) []byte {
	var q query
	rcode, ok := q.parse(packet)
	if !ok {
		s.opts.Observer.Dropped("malformed")
		return nil
	}
	if rcode != rcodeOK && rcode != rcodeVersion && rcode != rcodeRefused {
		// The question may be what is wrong: echo the header alone.
		q.question, q.edns = nil, false
	}
	limit := len(buf)
	if !tcp {
		limit = plainUDP
		if q.edns {
			limit = min(len(buf), max(plainUDP, int(q.size)))
		}
	}
	reserved := 0 // for the OPT record
	if q.edns {
		reserved = 11
		if q.subnet {
			reserved += 4 + len(q.subnetBytes)
		}
	}
	a := answer{buf: append(buf[:headerLen:limit-reserved], q.question...)}
	authoritative, scope, stale := false, uint8(0), false
	switch {
	case rcode != rcodeOK:
	case q.class != classIN || q.typ == typeAXFR || q.typ == typeIXFR:
		rcode = rcodeRefused
	default:
		z, at := s.zoneOf(q.name())
		if z == nil {
			rcode = rcodeRefused
			break
		}
		authoritative = true
		if short {
			a.truncated = true
			break
		}
		rcode, scope, stale = s.lookup(&a, &q, z, at, from, draw)
	}
	if a.truncated {
		a.buf, a.counts = a.buf[:headerLen+len(q.question)], [3]uint16{}
	}
	flags := flagQR | q.flags&(opcodeMask|flagRD) | uint16(rcode&0xf)
	if authoritative {
		flags |= flagAA
	}
	if a.truncated {
		flags |= flagTC
	}
	if q.edns {
		a.buf = opt(buf[:len(a.buf)], &q, rcode, scope) // behind what was left free for it
		a.counts[inAdditional]++
	}
	out := a.buf
	binary.BigEndian.PutUint16(out, q.id)
	binary.BigEndian.PutUint16(out[2:], flags)
	binary.BigEndian.PutUint16(out[4:], min(1, uint16(len(q.question))))
	for i, n := range a.counts {
		binary.BigEndian.PutUint16(out[6+2*i:], n)
	}
	s.opts.Observer.Answered(tcp, rcode, a.truncated, stale)
	return out
}

// opt adds the OPT record.
func opt(out []byte, q *query, rcode int, scope uint8) []byte {
	out = append(out, 0, 0, typeOPT)
	out = binary.BigEndian.AppendUint16(out, largestUDP)
	flags := uint16(0)
	if q.do {
		flags = 1 << 15
	}
	out = append(out, byte(rcode>>4), 0)
	out = binary.BigEndian.AppendUint16(out, flags)
	if !q.subnet {
		return append(out, 0, 0)
	}
	n := uint16(len(q.subnetBytes))
	out = binary.BigEndian.AppendUint16(out, 4+n)
	out = binary.BigEndian.AppendUint16(out, optionSubnet)
	out = binary.BigEndian.AppendUint16(out, n)
	out = append(out, q.subnetBytes...)
	out[len(out)-int(n)+3] = scope
	return out
}

// zoneOf finds the longest zone that name lies in, and where in the name it
// begins.
func (s *Server) zoneOf(name []byte) (*zone, int) {
	for at := 0; name[at] != 0; at += 1 + int(name[at]) {
		if z, ok := s.zones[string(name[at:])]; ok {
			return z, at
		}
	}
	return nil, 0
}

// lookup fills in the answer for a name of zone z, which begins at offset at of
// the name.
func (s *Server) lookup(a *answer, q *query, z *zone, at int, from netip.Addr, draw uint64) (rcode int, scope uint8, stale bool) {
	n, known := z.nodes[string(q.name())]
	origin := headerLen + at
	switch {
	case !known:
		rcode = rcodeNoName
	case n == nil: // only because of names below it
	case q.typ == typeSOA && n == z.apex:
		a.record(inAnswer, headerLen, typeSOA, stableTTL, z.soa)
	case q.typ == typeNS && n == z.apex:
		for _, name := range z.servers {
			a.record(inAnswer, headerLen, typeNS, stableTTL, name)
		}
	case q.typ == typeTXT:
		for _, text := range n.txt {
			a.record(inAnswer, headerLen, typeTXT, stableTTL, text)
		}
	case q.typ == typeANY:
		a.record(inAnswer, headerLen, typeHINFO, stableTTL, rfc8482)
	case q.typ == typeA || q.typ == typeAAAA:
		if !n.byPolicy {
			addAddresses(a, q.typ, stableTTL, addresses{n.v4, n.v6}, draw)
			break
		}
		who := edge.Query{Policy: n.policy, Client: q.client, Draw: draw}
		if !q.client.IsValid() {
			who.Client = netip.PrefixFrom(from.Unmap().WithZone(""), from.Unmap().BitLen())
		}
		d := s.opts.Edge.Decide(who)
		for i := range int(d.Answers) {
			addAddresses(a, q.typ, z.ttl, s.regions[d.At(i)], draw)
		}
		stale = d.Stale
		if q.client.IsValid() {
			scope = d.Scope
		}
	}
	if a.counts[inAnswer] == 0 && !a.truncated { // no such name, or nothing of this type
		a.record(inAuthority, origin, typeSOA, z.ttl, z.soa)
	}
	return rcode, scope, stale
}

// addAddresses adds all addresses of one family, beginning with another one
// each time.
func addAddresses(a *answer, typ uint16, ttl uint32, from addresses, draw uint64) {
	list := from.v4
	if typ == typeAAAA {
		list = from.v6
	}
	for i := range list {
		a.record(inAnswer, headerLen, typ, ttl, list[(uint64(i)+draw)%uint64(len(list))])
	}
}
