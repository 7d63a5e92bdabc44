// Package rot knows the embedded log's files from outside, without the log: it
// finds what rotted in them, keeps a second copy of them on a node that has no
// other, and puts them together again. What may live here: bytes and files; who
// stops and starts the log around a repair is eventlog's affair.
package rot

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/minio/highwayhash"
)

// The log writes records one after the other into block files, N.blk:
//
//	0   4  length of the record; the highest bit says that it has headers
//	4   8  sequence; the two highest bits are the marks
//	12  8  time, nanoseconds
//	20  2  length of the subject
//	22     subject, then with headers their length (4) and they, then the data
//	-8  8  HighwayHash over bytes 4 to 20, subject, headers and data, keyed with
//	       stream and block
//
// The lengths are not part of the hash, and a wrong one need not break it:
// where one can be checked by other means, it is. TestFormat fails when a new
// version of the log writes something else.
const (
	headSize   = 22
	sumSize    = 8
	leastSize  = headSize + sumSize
	mostSize   = 32 << 20
	hasHeaders = 1 << 31
	markErased = 1 << 63
	markTomb   = 1 << 62
)

// Record is a whole record of a block.
type Record struct {
	Seq     uint64
	Time    int64 // nanoseconds
	Live    bool  // not erased, and no tombstone
	Tomb    bool  // a note that the record of this sequence, somewhere, is gone
	Subject string
	Header  []byte
	Data    []byte
	Raw     []byte // as it stands in the file
}

// Damage is a place in a block where no whole record stands.
type Damage struct {
	At, Size int
	// Torn: the block ends within a record. A write that was cut short leaves
	// that; it was never acknowledged.
	Torn bool
	// End: it reaches the end of the block. That is also what a power cut leaves
	// where the file was longer already, and its last bytes were not written yet.
	End bool
}

// Block is what a block file holds.
type Block struct {
	Records []Record // in the order of the file
	Damage  []Damage
}

// Scan reads a block of a stream. It never fails: what is no record is damage.
// The records keep buf.
func Scan(stream string, index int, buf []byte) Block {
	return scan(hasher(stream, index), buf, true)
}

// scan is Scan; bare means that subjects may be empty, as in raft's logs.
func scan(h *highwayhash.Digest64, buf []byte, subjects bool) Block {
	var b Block
	for at := 0; at < len(buf); {
		rec, ok := parse(h, buf[at:], subjects)
		if ok {
			b.Records = append(b.Records, rec)
			at += len(rec.Raw)
			continue
		}
		next := at + 1
		if n := length(buf[at:]); n >= leastSize && n <= len(buf)-at {
			// If what follows is whole, only this one is not.
			if _, ok := parse(h, buf[at+n:], subjects); ok || at+n == len(buf) {
				next = at + n
			}
		}
		for next < len(buf) {
			if _, ok := parse(h, buf[next:], subjects); ok {
				break
			}
			next++
		}
		b.Damage = append(b.Damage, Damage{At: at, Size: next - at, Torn: next == len(buf) && torn(buf[at:]), End: next == len(buf)})
		at = next
	}
	return b
}

func hasher(stream string, index int) *highwayhash.Digest64 {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	h, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		panic(err) // the key has the size it must have
	}
	return h
}

func length(buf []byte) int {
	if len(buf) < headSize {
		return 0
	}
	return int(binary.LittleEndian.Uint32(buf) &^ hasHeaders)
}

// torn: the record says that it goes on where the file has ended.
func torn(buf []byte) bool {
	n := length(buf)
	return len(buf) < headSize || n > len(buf) && n <= mostSize
}

// parse reads the record that buf begins with, if it is whole.
func parse(h *highwayhash.Digest64, buf []byte, subjects bool) (rec Record, ok bool) {
	n := length(buf)
	if n < leastSize || n > mostSize || n > len(buf) {
		return rec, false
	}
	le := binary.LittleEndian
	seq, slen := le.Uint64(buf[4:]), int(le.Uint16(buf[20:]))
	raw, body, sum := buf[:n:n], buf[headSize:n-sumSize:n-sumSize], buf[n-sumSize:n]
	if slen > len(body) {
		return rec, false
	}
	rec = Record{Seq: seq &^ (markErased | markTomb), Time: int64(le.Uint64(buf[12:])), Live: seq&(markErased|markTomb) == 0 && seq != 0, Tomb: seq&markTomb != 0, Raw: raw}
	// Without headers nothing but this tells a subject from what follows it. It
	// also spares the hash where anything might be a record.
	if (slen > 0) != (rec.Live && subjects) || bytes.ContainsFunc(body[:slen], func(c rune) bool { return c <= ' ' || c > '~' }) {
		return rec, false
	}
	rec.Subject, body = string(body[:slen]), body[slen:]
	rec.Data = body
	if le.Uint32(buf)&hasHeaders != 0 {
		if len(body) < 4 {
			return rec, false
		}
		hlen := le.Uint32(body)
		if uint64(hlen) > uint64(len(body)-4) {
			return rec, false
		}
		rec.Header, rec.Data = body[4:4+hlen], body[4+hlen:]
		if !bytes.HasSuffix(rec.Header, []byte("\r\n\r\n")) {
			return rec, false
		}
	}
	h.Reset()
	_, _ = h.Write(buf[4:20])
	_, _ = h.Write([]byte(rec.Subject))
	_, _ = h.Write(rec.Header)
	_, _ = h.Write(rec.Data)
	var have [sumSize]byte
	return rec, bytes.Equal(h.Sum(have[:0]), sum)
}

// what a record is known by in its block.
type what struct {
	seq  uint64
	tomb bool
}

// lacks lists the records of another copy that this one has lost: if it is
// damaged whatever is not there, else its end, which was cut off. What is
// missing in the middle of a whole block was taken out when the log wrote it
// anew.
func (b Block) lacks(other Block) []Record {
	last := uint64(0)
	for _, r := range b.Records {
		last = max(last, r.Seq)
	}
	return slices.DeleteFunc(b.all(other), func(r Record) bool { return len(b.Damage) == 0 && (!r.Live || r.Seq < last) })
}

// all lists whatever another copy has that this one has not.
func (b Block) all(other Block) []Record {
	has := make(map[what]bool, len(b.Records))
	for _, r := range b.Records {
		has[what{r.Seq, r.Tomb}] = true
	}
	return slices.DeleteFunc(slices.Clone(other.Records), func(r Record) bool {
		return has[what{r.Seq, r.Tomb}]
	})
}

// merge puts records into a block, each before the first that comes after it;
// tombstones, which have no order, at its end.
func merge(b Block, more []Record) []byte {
	slices.SortStableFunc(more, func(x, y Record) int {
		if x.Tomb != y.Tomb {
			return map[bool]int{true: 1, false: -1}[x.Tomb]
		}
		return cmp.Compare(x.Seq, y.Seq)
	})
	var out []byte
	for _, r := range b.Records {
		for len(more) > 0 && !r.Tomb && !more[0].Tomb && more[0].Seq < r.Seq {
			out, more = append(out, more[0].Raw...), more[1:]
		}
		out = append(out, r.Raw...)
	}
	for _, r := range more {
		out = append(out, r.Raw...)
	}
	return out
}
