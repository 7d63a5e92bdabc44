package api

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/account"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// usageJSON is what answers took. Cost is in the configuration's currency, in
// decimals: a number would be rounded by who reads it.
type usageJSON struct {
	Prompt     int64  `json:"prompt_tokens"`
	Cached     int64  `json:"cached_tokens"`
	Completion int64  `json:"completion_tokens"`
	Cost       string `json:"cost"`
	Currency   string `json:"currency"`
}

type spentJSON struct {
	Day      string `json:"day,omitempty"`
	Tenant   string `json:"tenant,omitempty"`
	Key      string `json:"key,omitempty"`
	User     string `json:"user,omitempty"`
	Model    string `json:"model,omitempty"`
	Requests int64  `json:"requests"`
	usageJSON
}

func (s *server) spent(t account.Total) spentJSON {
	return spentJSON{
		Day: t.Day, Tenant: t.Tenant, Key: t.Key, User: t.User, Model: t.Model, Requests: t.Requests,
		usageJSON: usageJSON{t.Prompt, t.Cached, t.Completion, account.Decimal(t.Money), s.opts.Currency},
	}
}

func (s *server) usageRoutes(handle func(string, call)) {
	if s.opts.Accounts != nil {
		handle("GET /api/v1/usage", s.usage)
	}
}

// usage sums up what was spent: a user his own, and who runs the service all.
func (s *server) usage(w http.ResponseWriter, r *http.Request, user string) error {
	q := r.URL.Query()
	query := account.Query{By: []string{"day", "model"}}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	var err error
	if query.From, err = dayOf(q, "from", today.AddDate(0, 0, 1-today.Day())); err != nil {
		return err
	}
	if query.To, err = dayOf(q, "to", today); err != nil {
		return err
	}
	if by := q.Get("by"); by != "" {
		query.By = strings.Split(by, ",")
	}
	query.User = q.Get("user")
	if query.User != user {
		if err := s.opts.Guard.Operator(user); err != nil {
			if query.User != "" {
				return fault.New(fault.Forbidden, "what others spent is for an operator's key to see")
			}
			query.User = user
		}
	}
	format := q.Get("format")
	if format != "" && format != "json" && format != "csv" {
		return fault.New(fault.Invalid, `"format" must be json or csv, not %q`, format)
	}
	rows, err := s.opts.Accounts.Usage(r.Context(), query)
	if err != nil {
		return err
	}
	var sum account.Total
	out := make([]spentJSON, 0, len(rows))
	for _, t := range rows {
		out = append(out, s.spent(t))
		sum = sum.Plus(t)
	}
	from, to := query.From.Format(time.DateOnly), query.To.Format(time.DateOnly)
	if format == "csv" {
		download(w, "text/csv; charset=utf-8", "usage-"+from+"-"+to+".csv", table(query.By, out))
		return nil
	}
	return writeJSON(w, http.StatusOK, map[string]any{"from": from, "to": to, "by": query.By, "rows": out, "total": s.spent(sum)})
}

func dayOf(q url.Values, name string, otherwise time.Time) (time.Time, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	t, err := time.Parse(time.DateOnly, q.Get(name))
	if err != nil {
		return t, fault.New(fault.Invalid, "%q must be a day such as 2026-11-22, not %.40q", name, q.Get(name))
	}
	return t, nil
}

// table is CSV for a spreadsheet, which must not take a name for a formula.
func table(by []string, rows []spentJSON) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(slices.Concat(by, []string{"requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost", "currency"})) // no buffer fails
	for _, r := range rows {
		var line []string
		for _, d := range by {
			v := map[string]string{"day": r.Day, "tenant": r.Tenant, "key": r.Key, "user": r.User, "model": r.Model}[d]
			if v != "" && strings.ContainsRune("=+-@\t\r", rune(v[0])) {
				v = "'" + v
			}
			line = append(line, v)
		}
		for _, n := range []int64{r.Requests, r.Prompt, r.Cached, r.Completion} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		_ = w.Write(append(line, r.Cost, r.Currency))
	}
	w.Flush()
	return b.Bytes()
}

// cost is what a conversation's answers took so far, at today's prices; nil for
// visitors of other people's sites, whom it doesn't concern.
func (s *server) cost(r *http.Request, st *conversation.State) *usageJSON {
	if s.opts.Accounts == nil || auth.ShowsGuest(r) {
		return nil
	}
	var sum lm.Usage
	var money int64
	for _, t := range st.Turns() {
		if t.End != nil {
			u := t.End.Usage
			sum.Prompt, sum.Cached, sum.Completion = sum.Prompt+u.Prompt, sum.Cached+u.Cached, sum.Completion+u.Completion
			money += s.opts.Accounts.Cost(t.End.Model, u)
		}
	}
	return &usageJSON{int64(sum.Prompt), int64(sum.Cached), int64(sum.Completion), account.Decimal(money), s.opts.Currency}
}
