package roster

import (
	"math"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/lm/fleet"
)

// shadow is a model that gets a share of another one's requests.
type shadow struct {
	r     *Roster
	model string
	share float64
	seen  atomic.Uint64 // requests so far
}

// Next is the fleet that gets this request too; nil: it is not one of the share,
// or nobody there is ready.
func (s *shadow) Next() *fleet.Fleet {
	n := float64(s.seen.Add(1))
	if math.Floor(n*s.share) == math.Floor((n-1)*s.share) {
		return nil
	}
	e, _ := s.r.known(s.model, true)
	if t, ok := e.(*fleet.Turn); ok {
		return t.Fleet
	}
	return nil
}
