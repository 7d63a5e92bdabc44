//go:build linux

package stories

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// TestDrill kills, stops and cuts off the region that answers, in mid-sentence,
// while people talk: the same command that anybody can run.
func TestDrill(t *testing.T) {
	real(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	times := 3 * max(1, kills(t, 1)/10) // each kind as often
	ways := []string{"edge"}
	if kills(t, 1) >= 50 { // whole campaigns only: it takes as long again
		ways = append(ways, "client")
	}
	for _, via := range ways {
		t.Run(via, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), bin, "drill", "--json", "--users=6", "--faults=kill,pause,isolate", "--hold=4s",
				"--times="+strconv.Itoa(times), "--via="+via, "--data="+t.TempDir())
			var out, log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &log
			err := cmd.Run()
			var r struct {
				Acknowledged, Answers, Lost, Doubled, Disordered, Unfinished, Differing int
				Strange                                                                 []string
				Faults                                                                  []struct {
					Kind   string
					Region string
					Token  []time.Duration `json:"token_ns"`
					Acked  []time.Duration `json:"acked_ns"`
				}
			}
			if json.Unmarshal(out.Bytes(), &r) != nil {
				t.Fatalf("no report: %v\n%s", err, tail(log.String(), 4000))
			}
			t.Logf("%d acknowledged, %d answers; lost %d, doubled %d, disordered %d, unfinished %d, differing %d",
				r.Acknowledged, r.Answers, r.Lost, r.Doubled, r.Disordered, r.Unfinished, r.Differing)
			for _, f := range r.Faults {
				t.Logf("%s of %s: next token after %v, next acknowledgement after %v", f.Kind, f.Region, f.Token, f.Acked)
			}
			if err != nil || len(r.Faults) != times || r.Answers < 6 {
				t.Errorf("%d faults, %v, strange: %q\n%s", len(r.Faults), err, r.Strange, tail(log.String(), 4000))
			}
		})
	}
}
