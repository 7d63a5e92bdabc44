package luis

import "unicode"

// joins says whether two characters make one for a reader: marks and modifiers
// belong to what they stand on, a joiner ties two together, and two regional
// indicators are one flag. It is what .NET's text elements come to for nearly
// all text; Hangul that is written in single jamo is counted by the jamo.
func joins(a, b rune, regional int) bool {
	const joiner = '\u200d'
	switch {
	case a == '\r' && b == '\n', a == joiner && b > 0xff:
		return true
	case unicode.IsControl(a):
		return false
	case isRegional(b):
		return regional%2 == 0
	}
	return b == joiner || b == '\u200c' || unicode.In(b, unicode.Mn, unicode.Me, unicode.Mc, unicode.Variation_Selector) || b >= 0x1f3fb && b <= 0x1f3ff || b >= 0xe0020 && b <= 0xe007f
}

func isRegional(r rune) bool { return r >= 0x1f1e6 && r <= 0x1f1ff }
