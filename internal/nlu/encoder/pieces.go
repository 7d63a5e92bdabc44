package encoder

import (
	"bytes"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// pieces are the words and parts of words that a model knows, by number.
type pieces struct {
	id               map[string]int32
	begin, end, none int32
}

const (
	longestPiece = 64 // bytes; longer ones are not looked for
	longestWord  = 100
	mostPieces   = 1 << 18
)

// readPieces reads a vocabulary: a piece to a line, what goes on within a word
// with ## before it.
func readPieces(b []byte) (pieces, error) {
	p := pieces{id: map[string]int32{}}
	for line := range bytes.Lines(b) {
		if len(p.id) == mostPieces {
			return p, fmt.Errorf("the vocabulary has more than %d pieces", mostPieces)
		}
		piece := string(bytes.TrimRight(line, "\r\n"))
		if _, ok := p.id[piece]; ok {
			return p, fmt.Errorf("the vocabulary has %.40q twice", piece)
		}
		p.id[piece] = int32(len(p.id))
	}
	var ok [3]bool
	p.begin, ok[0] = p.get("[CLS]")
	p.end, ok[1] = p.get("[SEP]")
	p.none, ok[2] = p.get("[UNK]")
	if ok != [3]bool{true, true, true} {
		return p, errors.New("the vocabulary lacks [CLS], [SEP] or [UNK]")
	}
	return p, nil
}

func (p *pieces) get(s string) (int32, bool) {
	id, ok := p.id[s]
	return id, ok
}

// split appends the numbers of text's pieces to ids, between those of a
// sentence's begin and end.
func (p *pieces) split(ids []int32, text []byte) []int32 {
	ids = append(ids, p.begin)
	for len(text) > 0 && len(ids) < most-1 {
		r, n := utf8.DecodeRune(text)
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			text = text[n:]
			continue
		}
		if !alone(r) {
			for n < len(text) {
				next, size := utf8.DecodeRune(text[n:])
				if unicode.IsSpace(next) || unicode.IsControl(next) || alone(next) {
					break
				}
				n += size
			}
		}
		ids = p.word(ids, text[:n])
		text = text[n:]
	}
	return append(ids[:min(len(ids), most-1)], p.end)
}

// alone says whether a code point is a word by itself.
func alone(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != 0x7F
	}
	return unicode.IsPunct(r) || unicode.Is(unicode.Han, r)
}

// word cuts a word into pieces, the longest that fits first. One that can't be
// cut is unknown.
func (p *pieces) word(ids []int32, word []byte) []int32 {
	if len(word) > longestWord {
		return append(ids, p.none)
	}
	first := len(ids)
	var buf [2 + longestPiece]byte
	for len(word) > 0 {
		prefix := buf[:0]
		if len(ids) > first {
			prefix = append(prefix, "##"...)
		}
		end := min(len(word), longestPiece)
		for ; end > 0; end-- {
			// The compiler looks a converted slice up without a copy.
			if id, ok := p.id[string(append(prefix, word[:end]...))]; ok {
				ids = append(ids, id)
				break
			}
		}
		if end == 0 {
			return append(ids[:first], p.none)
		}
		word = word[end:]
	}
	return ids
}
