package edge

// land is where a country is: its continent (AF Africa, AN Antarctica, AS Asia,
// EU Europe, NA North America, OC Oceania, SA South America) and, to the degree,
// a place that many of its people are near to. Distances from it only order
// regions of which nobody knows the round trip.
type land struct {
	continent string
	lat, lon  int16
}

// countryCode is two letters that are in lands; zero is no country.
type countryCode [2]byte

// placed is a client's place, as far as it is known.
type placed struct {
	somewhere bool
	country   countryCode
	continent string
	at        Point
}

func countryOf(code string) (countryCode, bool) {
	if _, ok := lands[code]; !ok {
		return countryCode{}, false
	}
	return countryCode{code[0], code[1]}, true
}

func (c countryCode) placed() placed {
	l, ok := lands[string(c[:])]
	if !ok {
		return placed{}
	}
	return placed{true, c, l.continent, Point{float64(l.lat), float64(l.lon)}}
}

// Keys of places in a policy's table: countries, continents and the world each
// have their own range.
const worldKey = 1 << 17

func (c countryCode) key() int { return int(c[0])<<8 | int(c[1]) }

func continentKey(c string) int {
	if c == "" {
		return -1
	}
	return 1<<16 | int(c[0])<<8 | int(c[1])
}

const continentPrefix = "GEO-"

func placeKey(place string) int {
	switch {
	case place == "WORLD":
		return worldKey
	case len(place) == len(continentPrefix)+2:
		return continentKey(place[len(continentPrefix):])
	}
	code, _ := countryOf(place)
	return code.key()
}

func validPlace(place string) bool {
	if _, ok := countryOf(place); ok || place == "WORLD" {
		return true
	}
	switch place {
	case "GEO-AF", "GEO-AN", "GEO-AS", "GEO-EU", "GEO-NA", "GEO-OC", "GEO-SA":
		return true
	}
	return false
}

// lands holds the countries of ISO 3166-1, and XK, which is in wide use.
var lands = map[string]land{
	"AD": {"EU", 43, 2},
	"AE": {"AS", 25, 55},
	"AF": {"AS", 35, 69},
	"AG": {"NA", 17, -62},
	"AI": {"NA", 18, -63},
	"AL": {"EU", 41, 20},
	"AM": {"AS", 40, 45},
	"AO": {"AF", -9, 13},
	"AQ": {"AN", -78, 167},
	"AR": {"SA", -35, -58},
	"AS": {"OC", -14, -171},
	"AT": {"EU", 48, 16},
	"AU": {"OC", -34, 151},
	"AW": {"NA", 13, -70},
	"AX": {"EU", 60, 20},
	"AZ": {"AS", 40, 50},
	"BA": {"EU", 44, 18},
	"BB": {"NA", 13, -60},
	"BD": {"AS", 24, 90},
	"BE": {"EU", 51, 4},
	"BF": {"AF", 12, -2},
	"BG": {"EU", 43, 23},
	"BH": {"AS", 26, 51},
	"BI": {"AF", -3, 29},
	"BJ": {"AF", 6, 2},
	"BL": {"NA", 18, -63},
	"BM": {"NA", 32, -65},
	"BN": {"AS", 5, 115},
	"BO": {"SA", -16, -68},
	"BQ": {"NA", 12, -68},
	"BR": {"SA", -24, -47},
	"BS": {"NA", 25, -77},
	"BT": {"AS", 27, 90},
	"BV": {"AN", -54, 3},
	"BW": {"AF", -25, 26},
	"BY": {"EU", 54, 28},
	"BZ": {"NA", 17, -88},
	"CA": {"NA", 44, -79},
	"CC": {"AS", -12, 97},
	"CD": {"AF", -4, 15},
	"CF": {"AF", 4, 19},
	"CG": {"AF", -4, 15},
	"CH": {"EU", 47, 9},
	"CI": {"AF", 5, -4},
	"CK": {"OC", -21, -160},
	"CL": {"SA", -33, -71},
	"CM": {"AF", 4, 10},
	"CN": {"AS", 32, 117},
	"CO": {"SA", 5, -74},
	"CR": {"NA", 10, -84},
	"CU": {"NA", 23, -82},
	"CV": {"AF", 15, -24},
	"CW": {"NA", 12, -69},
	"CX": {"AS", -10, 106},
	"CY": {"AS", 35, 33},
	"CZ": {"EU", 50, 14},
	"DE": {"EU", 51, 10},
	"DJ": {"AF", 12, 43},
	"DK": {"EU", 56, 13},
	"DM": {"NA", 15, -61},
	"DO": {"NA", 18, -70},
	"DZ": {"AF", 37, 3},
	"EC": {"SA", -2, -80},
	"EE": {"EU", 59, 25},
	"EG": {"AF", 30, 31},
	"EH": {"AF", 27, -13},
	"ER": {"AF", 15, 39},
	"ES": {"EU", 40, -4},
	"ET": {"AF", 9, 39},
	"FI": {"EU", 60, 25},
	"FJ": {"OC", -18, 178},
	"FK": {"SA", -52, -58},
	"FM": {"OC", 7, 158},
	"FO": {"EU", 62, -7},
	"FR": {"EU", 49, 2},
	"GA": {"AF", 0, 9},
	"GB": {"EU", 52, 0},
	"GD": {"NA", 12, -62},
	"GE": {"AS", 42, 45},
	"GF": {"SA", 5, -52},
	"GG": {"EU", 49, -3},
	"GH": {"AF", 6, 0},
	"GI": {"EU", 36, -5},
	"GL": {"NA", 64, -52},
	"GM": {"AF", 13, -17},
	"GN": {"AF", 10, -14},
	"GP": {"NA", 16, -62},
	"GQ": {"AF", 4, 9},
	"GR": {"EU", 38, 24},
	"GS": {"AN", -54, -37},
	"GT": {"NA", 15, -91},
	"GU": {"OC", 13, 145},
	"GW": {"AF", 12, -16},
	"GY": {"SA", 7, -58},
	"HK": {"AS", 22, 114},
	"HM": {"AN", -53, 74},
	"HN": {"NA", 14, -87},
	"HR": {"EU", 46, 16},
	"HT": {"NA", 19, -72},
	"HU": {"EU", 47, 19},
	"ID": {"AS", -6, 107},
	"IE": {"EU", 53, -6},
	"IL": {"AS", 32, 35},
	"IM": {"EU", 54, -4},
	"IN": {"AS", 20, 77},
	"IO": {"AS", -7, 72},
	"IQ": {"AS", 33, 44},
	"IR": {"AS", 36, 51},
	"IS": {"EU", 64, -22},
	"IT": {"EU", 43, 12},
	"JE": {"EU", 49, -2},
	"JM": {"NA", 18, -77},
	"JO": {"AS", 32, 36},
	"JP": {"AS", 36, 139},
	"KE": {"AF", -1, 37},
	"KG": {"AS", 43, 75},
	"KH": {"AS", 12, 105},
	"KI": {"OC", 1, 173},
	"KM": {"AF", -12, 43},
	"KN": {"NA", 17, -63},
	"KP": {"AS", 39, 126},
	"KR": {"AS", 37, 127},
	"KW": {"AS", 29, 48},
	"KY": {"NA", 19, -81},
	"KZ": {"AS", 43, 77},
	"LA": {"AS", 18, 103},
	"LB": {"AS", 34, 36},
	"LC": {"NA", 14, -61},
	"LI": {"EU", 47, 10},
	"LK": {"AS", 7, 80},
	"LR": {"AF", 6, -11},
	"LS": {"AF", -29, 27},
	"LT": {"EU", 55, 25},
	"LU": {"EU", 50, 6},
	"LV": {"EU", 57, 24},
	"LY": {"AF", 33, 13},
	"MA": {"AF", 34, -7},
	"MC": {"EU", 44, 7},
	"MD": {"EU", 47, 29},
	"ME": {"EU", 42, 19},
	"MF": {"NA", 18, -63},
	"MG": {"AF", -19, 48},
	"MH": {"OC", 7, 171},
	"MK": {"EU", 42, 21},
	"ML": {"AF", 13, -8},
	"MM": {"AS", 17, 96},
	"MN": {"AS", 48, 107},
	"MO": {"AS", 22, 114},
	"MP": {"OC", 15, 146},
	"MQ": {"NA", 15, -61},
	"MR": {"AF", 18, -16},
	"MS": {"NA", 17, -62},
	"MT": {"EU", 36, 15},
	"MU": {"AF", -20, 58},
	"MV": {"AS", 4, 74},
	"MW": {"AF", -14, 34},
	"MX": {"NA", 19, -99},
	"MY": {"AS", 3, 102},
	"MZ": {"AF", -26, 33},
	"NA": {"AF", -23, 17},
	"NC": {"OC", -22, 166},
	"NE": {"AF", 14, 2},
	"NF": {"OC", -29, 168},
	"NG": {"AF", 7, 3},
	"NI": {"NA", 12, -86},
	"NL": {"EU", 52, 5},
	"NO": {"EU", 60, 11},
	"NP": {"AS", 28, 85},
	"NR": {"OC", -1, 167},
	"NU": {"OC", -19, -170},
	"NZ": {"OC", -37, 175},
	"OM": {"AS", 24, 58},
	"PA": {"NA", 9, -80},
	"PE": {"SA", -12, -77},
	"PF": {"OC", -18, -150},
	"PG": {"OC", -9, 147},
	"PH": {"AS", 15, 121},
	"PK": {"AS", 31, 73},
	"PL": {"EU", 52, 20},
	"PM": {"NA", 47, -56},
	"PN": {"OC", -25, -130},
	"PR": {"NA", 18, -66},
	"PS": {"AS", 32, 35},
	"PT": {"EU", 39, -9},
	"PW": {"OC", 7, 134},
	"PY": {"SA", -25, -58},
	"QA": {"AS", 25, 51},
	"RE": {"AF", -21, 55},
	"RO": {"EU", 44, 26},
	"RS": {"EU", 45, 20},
	"RU": {"EU", 56, 38},
	"RW": {"AF", -2, 30},
	"SA": {"AS", 25, 47},
	"SB": {"OC", -9, 160},
	"SC": {"AF", -5, 55},
	"SD": {"AF", 16, 33},
	"SE": {"EU", 59, 18},
	"SG": {"AS", 1, 104},
	"SH": {"AF", -16, -6},
	"SI": {"EU", 46, 15},
	"SJ": {"EU", 78, 16},
	"SK": {"EU", 48, 17},
	"SL": {"AF", 8, -13},
	"SM": {"EU", 44, 12},
	"SN": {"AF", 15, -17},
	"SO": {"AF", 2, 45},
	"SR": {"SA", 6, -55},
	"SS": {"AF", 5, 32},
	"ST": {"AF", 0, 7},
	"SV": {"NA", 14, -89},
	"SX": {"NA", 18, -63},
	"SY": {"AS", 34, 36},
	"SZ": {"AF", -26, 31},
	"TC": {"NA", 22, -72},
	"TD": {"AF", 12, 15},
	"TF": {"AN", -49, 70},
	"TG": {"AF", 6, 1},
	"TH": {"AS", 14, 101},
	"TJ": {"AS", 39, 69},
	"TK": {"OC", -9, -172},
	"TL": {"AS", -9, 126},
	"TM": {"AS", 38, 58},
	"TN": {"AF", 37, 10},
	"TO": {"OC", -21, -175},
	"TR": {"AS", 41, 29},
	"TT": {"NA", 11, -61},
	"TV": {"OC", -9, 179},
	"TW": {"AS", 25, 121},
	"TZ": {"AF", -7, 39},
	"UA": {"EU", 50, 31},
	"UG": {"AF", 0, 33},
	"UM": {"OC", 19, 167},
	"US": {"NA", 39, -95},
	"UY": {"SA", -35, -56},
	"UZ": {"AS", 41, 69},
	"VA": {"EU", 42, 12},
	"VC": {"NA", 13, -61},
	"VE": {"SA", 10, -67},
	"VG": {"NA", 18, -65},
	"VI": {"NA", 18, -65},
	"VN": {"AS", 16, 107},
	"VU": {"OC", -18, 168},
	"WF": {"OC", -13, -176},
	"WS": {"OC", -14, -172},
	"XK": {"EU", 43, 21},
	"YE": {"AS", 15, 44},
	"YT": {"AF", -13, 45},
	"ZA": {"AF", -26, 28},
	"ZM": {"AF", -15, 28},
	"ZW": {"AF", -18, 31},
}
