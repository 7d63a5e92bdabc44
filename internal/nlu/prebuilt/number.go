package prebuilt

import (
	"math"
	"strconv"
)

// number is a number in the text, in words or digits.
type number struct {
	value   float64
	next    int // the token behind it; 0: there is none
	digits  bool
	decimal bool
}

// Words of numbers.
var (
	smallWords = map[string]float64{
		"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
		"eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
	}
	tensWords = map[string]float64{
		"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
	}
	scaleWords   = map[string]float64{"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
	ordinalWords = map[string]float64{
		"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
		"eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16, "seventeenth": 17,
		"eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30, "fortieth": 40, "fiftieth": 50, "sixtieth": 60,
		"seventieth": 70, "eightieth": 80, "ninetieth": 90, "hundredth": 100, "thousandth": 1000, "millionth": 1e6,
	}
)

// gluedWords may stand right behind the digits of a number.
var gluedWords = map[string]bool{
	"k": true, "bn": true, "am": true, "pm": true, "a": true, "p": true, "h": true, "hr": true, "hrs": true, "m": true, "min": true, "mins": true,
	"s": true, "sec": true, "secs": true, "d": true, "w": true, "km": true, "kg": true, "g": true, "cm": true, "mm": true, "mb": true, "gb": true,
	"eur": true, "usd": true, "gbp": true, "chf": true, "x": true,
}

// readNumber reads the number that begins at token i.
func (s *scan) readNumber(i int) number {
	j, sign := i, 1.0
	switch {
	case s.is(i, "minus", "negative"), s.is(i, "-") && !s.glued(i) && s.glued(i+1) && s.isDigits(i+1):
		j, sign = i+1, -1
	case s.glued(i) && s.isDigits(i) && gluedSpans[s.at(i-1)].letter != "" && s.glued(i-1) && s.isDigits(i-2): // 1h30m
	case s.glued(i) && !s.is(i-1, "-", "(", "\"", "'", "$", "€", "£", "¥", "₹", "~", "=", "+", "#", "[", "/", ",", ";", ":", "–"):
		return number{} // within a word, a version, a code
	case s.glued(i) && s.is(i-1, "-", "/", ",", ":", "–") && s.glued(i-1) && s.isDigits(i-2) && s.isDigits(i):
		return number{} // within a date or a number
	}
	n := s.readDigits(j)
	if n.next == 0 {
		n = s.readWords(j)
	}
	if n.next == 0 {
		return n
	}
	n.value *= sign
	if next, ok := s.seq(n.next, "and", "a", "half"); ok && !n.decimal {
		n.value, n.next, n.decimal = n.value+math.Copysign(0.5, sign), next, true
	}
	return n
}

// readDigits reads 12, 1,234.5 and .5, and what multiplies them.
func (s *scan) readDigits(i int) number {
	text, j := "", i
	if s.isDigits(i) {
		text, j = s.at(i), i+1
		for len(text) < 400 && s.is(j, ",") && s.glued(j) && s.glued(j+1) && s.isDigits(j+1) && len(s.at(j+1)) == 3 {
			text, j = text+s.at(j+1), j+2
		}
	}
	n := number{digits: true}
	if s.is(j, ".") && (j == i || s.glued(j)) && s.glued(j+1) && s.isDigits(j+1) {
		text, j, n.decimal = text+"."+s.at(j+1), j+2, true
		if s.is(j, ".") && s.glued(j) && s.glued(j+1) && (s.isDigits(j+1) || s.isWord(j+1)) {
			return number{} // 10.0.0.1
		}
	}
	if text == "" || len(text) > 400 {
		return number{}
	}
	if s.isWord(j) && s.glued(j) && !gluedWords[s.at(j)] {
		return number{} // 1st, 3f2a
	}
	if s.glued(j) && s.glued(j+1) && s.isDigits(j+1) && s.is(j, "-", "/", ":") {
		return number{} // a date, a time, a phone number
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(v, 0) {
		return number{}
	}
	switch {
	case s.is(j, "k") && s.glued(j):
		v, j = v*1e3, j+1
	case s.is(j, "bn"):
		v, j = v*1e9, j+1
	case s.is(j, "hundred"):
		v, j = v*100, j+1
	case s.is(j, "dozen"):
		v, j = v*12, j+1
	case scaleWords[s.at(j)] > 0:
		v, j = v*scaleWords[s.at(j)], j+1
	}
	n.value, n.next = v, j
	return n
}

// readWords reads "two hundred and five thousand", "a dozen", "one point five".
func (s *scan) readWords(i int) number {
	var total, group float64  // total of what was scaled, and what is being read
	below, scale := 1e9, 1e15 // what may come next is smaller than these
	next := 0
	j := i
	if next, ok := s.seq(i, "half", "a", "dozen"); ok {
		return number{value: 6, next: next}
	}
	if s.is(i, "a") && (s.is(i+1, "hundred", "dozen") || scaleWords[s.at(i+1)] > 0) {
		group, j, below = 1, i+1, 1
	}
	for started := j > i; ; j++ {
		w := s.at(j)
		if w == "-" && s.glued(j) && s.glued(j+1) && started || w == "and" && started && below == 100 {
			if _, ok := smallWords[s.at(j+1)]; ok || tensWords[s.at(j+1)] > 0 {
				continue
			}
			break
		}
		small, isSmall := smallWords[w]
		switch {
		case isSmall && small < below && (small > 0 || !started):
			group, below = group+small, 1
		case tensWords[w] > 0 && tensWords[w] < below:
			group, below = group+tensWords[w], 10
		case w == "hundred" && started && group > 0 && group < 100 && below < 100:
			group, below = group*100, 100
		case w == "dozen":
			return number{value: total + max(group, 1)*12, next: j + 1}
		case scaleWords[w] > 0 && started && scaleWords[w] < scale && group > 0:
			scale = scaleWords[w]
			total, group, below = total+group*scale, 0, 1e9
			if s.is(j+1, "and") {
				below = 100
			}
		default:
			w = ""
		}
		if w == "" {
			break
		}
		next, started = j+1, true
	}
	if next == 0 {
		return number{}
	}
	n := number{value: total + group, next: next}
	if s.is(next, "point") {
		step := 0.1
		for j := next + 1; ; j++ {
			d, ok := smallWords[s.at(j)]
			if !ok || d > 9 {
				break
			}
			n.value, n.next, n.decimal = n.value+d*step, j+1, true
			step /= 10
		}
		n.value = math.Round(n.value*1e12) / 1e12
		if scale := scaleWords[s.at(n.next)]; n.decimal && scale > 0 {
			n.value, n.next = n.value*scale, n.next+1
		}
	}
	return n
}

// readOrdinal reads 21st, third, twenty-first, "one hundred and fifth".
func (s *scan) readOrdinal(i int) number {
	if s.isDigits(i) && !s.glued(i) && s.glued(i+1) && s.is(i+1, "st", "nd", "rd", "th") && len(s.at(i)) < 10 {
		v, err := strconv.Atoi(s.at(i))
		if err == nil && v > 0 {
			return number{value: float64(v), next: i + 2, digits: true}
		}
	}
	if s.is(i, "second") && (s.is(i-1, "a", "one", "per", "every", "each", "half", "any", "split") || s.isDigits(i-1)) {
		return number{} // the unit of time
	}
	if v := ordinalWords[s.at(i)]; v > 0 && !(s.glued(i) && s.is(i-1, "-")) {
		return number{value: v, next: i + 1}
	}
	n := s.number[i]
	if n.next == 0 || n.digits || n.decimal || n.value < 1 {
		return number{}
	}
	j := n.next
	if s.is(j, "-", "and") {
		j++
	}
	v := ordinalWords[s.at(j)]
	switch {
	case v == 0 || s.is(j, "second") && n.value < 20:
		return number{}
	case v >= 100:
		return number{value: n.value * v, next: j + 1}
	case v < 10 && math.Mod(n.value, 10) == 0 || math.Mod(n.value, 100) == 0:
		return number{value: n.value + v, next: j + 1}
	}
	return number{}
}

func (s *scan) numbers() []Entity {
	return s.each(func(i int) (Entity, int) {
		n := s.number[i]
		if n.next == 0 || s.order[i].next > n.next {
			return Entity{}, 0 // "twenty" of "twenty-first"
		}
		return s.entity(i, n.next, Number, Value{Number: n.value}), n.next
	})
}

func (s *scan) ordinals() []Entity {
	return s.each(func(i int) (Entity, int) {
		n := s.order[i]
		if n.next == 0 {
			return Entity{}, 0
		}
		return s.entity(i, n.next, Ordinal, Value{Number: n.value}), n.next
	})
}

func (s *scan) percentages() []Entity {
	return s.each(func(i int) (Entity, int) {
		n := s.number[i]
		next := n.next + 1
		switch {
		case n.next == 0:
			return Entity{}, 0
		case s.is(n.next, "%", "percent", "pct"):
		case s.is(n.next, "per") && s.is(n.next+1, "cent"):
			next++
		default:
			return Entity{}, 0
		}
		return s.entity(i, next, Percentage, Value{Number: n.value}), next
	})
}

// Signs and words of currencies, and what they are called.
var (
	currencySigns = map[string]string{"$": "Dollar", "€": "Euro", "£": "Pound", "¥": "Yen", "₹": "Rupee"}
	currencyWords = map[string]string{
		"$": "Dollar", "dollar": "Dollar", "dollars": "Dollar", "buck": "Dollar", "bucks": "Dollar", "usd": "US Dollar",
		"€": "Euro", "euro": "Euro", "euros": "Euro", "eur": "Euro", "£": "Pound", "pound": "Pound", "pounds": "Pound", "quid": "Pound", "gbp": "British Pound",
		"¥": "Yen", "yen": "Yen", "jpy": "Yen", "₹": "Rupee", "rupee": "Rupee", "rupees": "Rupee", "inr": "Indian Rupee",
		"franc": "Franc", "francs": "Franc", "chf": "Swiss Franc", "cad": "Canadian Dollar", "aud": "Australian Dollar", "nzd": "New Zealand Dollar",
		"yuan": "Yuan", "cny": "Yuan", "krona": "Krona", "kronor": "Krona", "sek": "Swedish Krona", "zloty": "Zloty", "pln": "Zloty",
		"cent": "Cent", "cents": "Cent", "pence": "Penny", "penny": "Penny",
	}
)

func (s *scan) amounts() []Entity {
	return s.each(func(i int) (Entity, int) {
		unit, at := currencySigns[s.at(i)], i+1
		if unit == "" && s.is(i, "usd", "eur", "gbp", "chf", "inr", "jpy", "cad", "aud") {
			unit = currencyWords[s.at(i)]
		}
		if unit != "" && at < len(s.toks) && s.number[at].next > 0 && s.number[at].digits {
			n := s.number[at]
			return s.entity(i, n.next, Money, Value{Number: n.value, Unit: unit}), n.next
		}
		n := s.number[i]
		if n.next == 0 {
			amount, word := 1.0, i+1
			if s.is(i, "half") {
				amount, word = 0.5, i+2
			}
			if s.is(word-1, "a") && s.is(word, "dollar", "euro", "pound", "quid", "buck") {
				return s.entity(i, word+1, Money, Value{Number: amount, Unit: currencyWords[s.at(word)]}), word + 1
			}
			return Entity{}, 0
		}
		v := Value{Number: n.value, Unit: currencyWords[s.at(n.next)]}
		next := n.next + 1
		if v.Unit == "" {
			return Entity{}, 0
		}
		cents := next
		if s.is(cents, "and") {
			cents++
		}
		if v.Unit != "Cent" && v.Unit != "Penny" && cents < len(s.toks) {
			if c := s.number[cents]; c.next > 0 && c.value < 100 && c.value > 0 && s.is(c.next, "cent", "cents", "pence", "penny") {
				v.Number, next = math.Round((v.Number+c.value/100)*100)/100, c.next+1
			}
		}
		return s.entity(i, next, Money, v), next
	})
}
