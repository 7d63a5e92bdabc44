package api

import (
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/health"
)

// Region is a region of the world as this node sees it.
type Region struct {
	Name    string       `json:"name"`
	Role    string       `json:"role"` // full or witness
	State   string       `json:"state"`
	Here    bool         `json:"here,omitempty"`    // this node is in it
	Leads   []string     `json:"leads"`             // regions whose log is led here
	Copies  []string     `json:"copies"`            // regions of whose log there is a current copy here
	Lag     uint64       `json:"lag"`               // most entries that a replica here is behind
	Address string       `json:"address,omitempty"` // where users reach it
	Nodes   []RegionNode `json:"nodes"`
}

// RegionNode is a node of a region.
type RegionNode struct {
	Name    string    `json:"name"`
	Alive   bool      `json:"alive"`
	Seen    time.Time `json:"seen,omitzero"`
	Version string    `json:"version,omitempty"`
	Turns   int       `json:"turns"` // asked for and not ended
	Live    int       `json:"live"`  // conversations that are open
	// Elections is how many it has noticed in its log's groups since it started.
	Elections uint64 `json:"elections"`
}

// The states of a region.
const (
	RegionServing  = "serving"
	RegionDegraded = "degraded" // takes what users say; another region answers
	RegionLeaving  = "leaving"
	RegionDown     = "down"
	RegionWitness  = "witness" // votes, and serves nobody
)

type regionsJSON struct {
	Regions []Region `json:"regions"`
}

func (s *server) regions(w http.ResponseWriter, _ *http.Request, _ string) error {
	return writeJSON(w, http.StatusOK, regionsJSON{s.opts.Regions()})
}

// Witness answers for a node that serves nobody: its health, and no more.
func Witness(region string, board *health.Board) http.Handler {
	mux := http.NewServeMux()
	probes(mux, board, func(*http.Request) bool { return false })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeFault(w, fault.New(fault.Unavailable, "%s is a witness: it votes and serves nobody; ask another region", region))
	})
	return mux
}

// probes serves what a supervisor asks. Parts and latencies are for those whom
// the node knows; a stranger gets the verdict.
func probes(mux *http.ServeMux, board *health.Board, known func(*http.Request) bool) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		rep := board.Report(r.Context())
		if !rep.Ready {
			writeText(w, http.StatusServiceUnavailable, rep.Status+"\n")
			return
		}
		writeText(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		rep := board.Report(r.Context())
		if !known(r) {
			rep.Parts = nil
		}
		status := http.StatusOK
		if !rep.Ready {
			status = http.StatusServiceUnavailable
		}
		_ = writeJSON(w, status, rep)
	})
}
