package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/nlu/luis"
	"github.com/parleyhq/parley/internal/understand"
)

// luis serves the prediction API of LUIS, v3 and v2, and that of its successor
// CLU, to clients that only change their host.
func (s *server) luis(mux *http.ServeMux) {
	handle := func(pattern string, f call) {
		known := s.user(f, writeLUISFault)
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			// LUIS took its key in the address too.
			if key := r.URL.Query().Get("subscription-key"); key != "" && r.Header.Get("Ocp-Apim-Subscription-Key") == "" {
				r.Header.Set("Ocp-Apim-Subscription-Key", key)
			}
			known.ServeHTTP(w, r)
		})
	}
	handle("GET /luis/prediction/v3.0/apps/{app}/slots/{slot}/predict", s.predict)
	handle("POST /luis/prediction/v3.0/apps/{app}/slots/{slot}/predict", s.predict)
	handle("GET /luis/prediction/v3.0/apps/{app}/versions/{version}/predict", s.predict)
	handle("POST /luis/prediction/v3.0/apps/{app}/versions/{version}/predict", s.predict)
	handle("GET /luis/v2.0/apps/{app}", s.predictV2)
	handle("POST /luis/v2.0/apps/{app}", s.predictV2)
	handle("POST /language/:analyze-conversations", s.analyze)
}

// writeLUISFault answers in the shape of both APIs.
func writeLUISFault(w http.ResponseWriter, err error) {
	code := map[fault.Code]string{
		fault.Invalid: "BadArgument", fault.Unauthenticated: "401", fault.Forbidden: "Forbidden", fault.NotFound: "NotFound",
		fault.TooLarge: "PayloadTooLarge", fault.Limited: "429", fault.Unavailable: "ServiceUnavailable",
	}[fault.CodeOf(err)]
	if code == "" {
		code = "InternalServerError"
	}
	writeError(w, statusOf(fault.CodeOf(err)), err, map[string]any{"code": code, "message": fault.MessageOf(err)})
}

// told writes an answer that is JSON already, or why there is none.
func told(w http.ResponseWriter, answer []byte, err error) error {
	status := http.StatusOK
	var refused *luis.Error
	switch {
	case errors.As(err, &refused):
		status, answer = refused.Status, refused.JSON()
	case err != nil:
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(answer) // a client that left reads nothing
	return nil
}

func (s *server) predict(w http.ResponseWriter, r *http.Request, _ string) error {
	m, err := s.opts.Understanding.ForProgram(r.PathValue("app"), understand.Slot(r.PathValue("slot")), r.PathValue("version"))
	if err != nil {
		return err
	}
	var q luis.Request
	if r.Method == http.MethodGet {
		q, err = luis.ParseGet(r.URL.Query())
	} else {
		var b []byte
		if b, err = readBody(w, r, s.opts.MaxBody); err == nil {
			q, err = luis.ParsePost(r.URL.Query(), b)
		}
	}
	if err != nil {
		return told(w, nil, err)
	}
	u, err := s.reads(m, q)
	return told(w, u.Response(q), err)
}

func (s *server) predictV2(w http.ResponseWriter, r *http.Request, _ string) error {
	slot := understand.Production
	if r.URL.Query().Get("staging") == "true" {
		slot = understand.Staging
	}
	m, err := s.opts.Understanding.ForProgram(r.PathValue("app"), slot, "")
	if err != nil {
		return err
	}
	values := r.URL.Query()
	if r.Method == http.MethodPost { // the query alone, as a JSON text
		b, err := readBody(w, r, s.opts.MaxBody)
		if err != nil {
			return err
		}
		var text string
		if json.Unmarshal(b, &text) != nil {
			return fault.New(fault.Invalid, "the body must be the query, as a JSON string")
		}
		values.Set("q", text)
	}
	q, err := luis.ParseV2(values)
	if err != nil {
		return told(w, nil, err)
	}
	u, err := s.reads(m, q)
	return told(w, u.ResponseV2(q), err)
}

// reads has a model read what a client of LUIS asks.
func (s *server) reads(m *understand.Model, q luis.Request) (luis.Understanding, error) {
	began := time.Now()
	if len(q.Lists) > 0 {
		more, err := m.With(q.Lists)
		if err != nil {
			return luis.Understanding{}, fault.Wrap(err, fault.Invalid, "dynamicLists: %v", err)
		}
		m = more
	}
	at := q.Reference
	if at.IsZero() {
		at = time.Now().UTC()
		if q.Zone != nil {
			at = at.In(q.Zone)
		}
	}
	u := m.Reads(q.Query, at).WithExternal(q)
	s.opts.Understanding.Asked(m, time.Since(began))
	return u, nil
}

func (s *server) analyze(w http.ResponseWriter, r *http.Request, _ string) error {
	b, err := readBody(w, r, s.opts.MaxBody)
	if err != nil {
		return err
	}
	q, err := luis.ParseAnalysis(b)
	if err != nil {
		return told(w, nil, err)
	}
	m, err := s.opts.Understanding.ForProgram(q.Project, understand.Slot(q.Deployment), "")
	if err != nil {
		return err
	}
	began := time.Now()
	u := m.Reads(q.Text, time.Now().UTC())
	s.opts.Understanding.Asked(m, time.Since(began))
	return told(w, u.Analyze(q), nil)
}
