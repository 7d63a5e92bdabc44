package plain

import (
	"reflect"
	"testing"
)

// Both languages say everything, each in its own words.
func TestWords(t *testing.T) {
	en, de := reflect.ValueOf(english()), reflect.ValueOf(german())
	same := 0
	for i := range en.NumField() {
		name, a, b := en.Type().Field(i).Name, en.Field(i).String(), de.Field(i).String()
		if a == "" || b == "" {
			t.Errorf("%s: %q, %q", name, a, b)
		}
		if a == b {
			same++
		}
	}
	if same > 2 { // Bot, and what else is the same word
		t.Errorf("%d texts are the same in both languages", same)
	}
}
