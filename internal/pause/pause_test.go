package pause

import (
	"testing"
	"time"
)

// Whatever time it comes at, it is noticed soon after.
func TestNext(t *testing.T) {
	tries := 0
	for at := time.Duration(0); at < 4*longest; tries++ {
		next := at + Next(at)
		if late := next - at; late > max(at/4, shortest) || late <= 0 {
			t.Errorf("what comes after %v is noticed %v late", at, late)
		}
		at = next
	}
	if tries > 20 {
		t.Errorf("%d tries in %v", tries, 4*longest)
	}
	if got := Next(time.Hour); got != longest {
		t.Errorf("after an hour: %v", got)
	}
}
