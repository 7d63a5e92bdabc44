package api

import "net/http"

// ScaledEngine is an engine whose replicas come and go, by this node's doing or
// by that of somebody who reads this.
type ScaledEngine struct {
	Name     string    `json:"name"`
	Requests int       `json:"requests"` // running and waiting on this node
	Expected float64   `json:"expected"` // when a replica that starts now is ready; never less than the average of the last seconds
	Target   float64   `json:"target"`   // requests for one replica
	Min      int       `json:"min"`
	Max      int       `json:"max"`
	Wanted   int       `json:"wanted"` // replicas that there shall be
	Why      string    `json:"why"`
	Replicas *Replicas `json:"replicas,omitempty"` // nil: somebody else starts and stops them
	Problem  string    `json:"problem"`            // of the last start, "" if there is none
}

// Replicas counts those that there are.
type Replicas struct {
	Starting int `json:"starting"`
	Ready    int `json:"ready"`
	Draining int `json:"draining"`
}

func (s *server) scale(w http.ResponseWriter, _ *http.Request, _ string) error {
	return writeJSON(w, http.StatusOK, map[string]any{"engines": s.opts.Scale()})
}
