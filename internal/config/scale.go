package config

import (
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/scale"
)

// Scale says how many replicas of an engine there are. Max 0: it is not scaled.
type Scale struct {
	Min, Max int
	Target   int // requests for a replica; 0 = its slots, or 10
	Spare    int
	Hold     time.Duration // 0 = 5 min
	Idle     time.Duration // 0 = 5 min
	Patience time.Duration // of a start; 0 = 10 min
}

// Limits are those of package scale.
func (e Engine) Limits() scale.Limits {
	x := e.Scale
	l := scale.Limits{Min: x.Min, Max: x.Max, Target: float64(x.Target), Spare: x.Spare, Hold: x.Hold, Idle: x.Idle}
	if l.Target == 0 {
		l.Target = float64(e.Slots)
	}
	return l.Complete()
}

// Scaled reports whether replicas of it come and go.
func (e Engine) Scaled() bool { return e.Scale.Max > 0 }

// scaleSettings are those of engines that are started and stopped.
func scaleSettings() []row[Engine] {
	return []row[Engine]{
		texts(Row{Key: "command", Doc: "process: the program and its arguments, with {port} where the port of its OpenAI-compatible API has to stand (docs/scaling.md). It is started without a shell."},
			func(e *Engine) *[]string { return &e.Command }, 200, 4096, nil),
		number(Row{Key: "scale.min", Doc: "Replicas that always run. 0 lets them all go when nobody asks; the next request is held until one has started."},
			func(e *Engine) *int { return &e.Scale.Min }, 0, 100),
		number(Row{Key: "scale.max", Doc: "Replicas at most. Without it, one process; other engines are not scaled. openai: somebody else starts and stops them, by what GET /api/v1/scale says."},
			func(e *Engine) *int { return &e.Scale.Max }, 1, 100),
		number(Row{Key: "scale.target", Doc: "Requests, running and waiting, that one replica shall have. Without it, its slots, or 10."},
			func(e *Engine) *int { return &e.Scale.Target }, 1, 4096),
		number(Row{Key: "scale.spare", Doc: "Replicas kept ready beyond what is needed, as long as any is."},
			func(e *Engine) *int { return &e.Scale.Spare }, 0, 99),
		duration(Row{Key: "scale.hold", Doc: "How long a replica must not have been needed before it is stopped. Without it, 5m."},
			func(e *Engine) *time.Duration { return &e.Scale.Hold }, time.Second, 24*time.Hour),
		duration(Row{Key: "scale.idle", Doc: "How long there must be no request before only scale.min are left. Without it, 5m."},
			func(e *Engine) *time.Duration { return &e.Scale.Idle }, time.Second, 24*time.Hour),
		duration(Row{Key: "scale.patience", Doc: "Longest time that a replica may take to be ready. Without it, 10m."},
			func(e *Engine) *time.Duration { return &e.Scale.Patience }, time.Second, 24*time.Hour),
	}
}

// checkScale checks what engines need that are started and stopped.
func (l *loader) checkScale(key string, e Engine) {
	process := e.Kind == Process
	switch {
	case process && len(e.Command) == 0 && !l.failedAt(key+".command"):
		l.problem(key+".command", `for example [llama-server, --model, model.gguf, --port, "{port}"]`, "an engine of kind process needs the command that starts a server")
	case process && len(e.Command) > 0 && !slices.ContainsFunc(e.Command, func(s string) bool { return strings.Contains(s, "{port}") }):
		l.problem(key+".command", `for example [llama-server, --model, model.gguf, --port, "{port}"]`, "nothing in it says {port}, so that every server would want the same one")
	case !process && len(e.Command) > 0:
		l.problem(key+".command", "take kind process", "an engine of kind %s is not started by a command", e.Kind)
	}
	if process && len(e.Models) == 0 && !l.failedAt(key+".models") {
		l.problem(key+".models", "name the model that the command serves", "it could not be asked for while no server runs")
	}
	switch {
	case e.Scale == Scale{}:
	case !process && e.Kind != Embedded && e.Kind != OpenAI:
		l.problem(key+".scale", "leave it out", "engines of kind %s are not scaled", e.Kind)
	case e.Kind == OpenAI && len(e.Models) == 0:
		l.problem(key+".models", "name what it serves", "requests are counted by model")
	case e.Scale.Max == 0 && !process:
		l.problem(key+".scale.max", "say how many there may be", "is missing")
	default:
		x := e
		x.Scale.Max = max(x.Scale.Max, 1)
		if err := x.Limits().Check(); err != nil {
			l.problem(key+".scale", "", "%v", err)
		}
	}
}
