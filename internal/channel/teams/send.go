package teams

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// target is a conversation in Teams.
type target struct {
	account *account
	at      address
	s       *Server
}

// mostAnswer bounds what Teams answers.
const mostAnswer = 1 << 20

// post adds a message and returns Teams' name for it.
func (to target) post(ctx context.Context, m message) (id string, err error) {
	var out struct {
		ID string `json:"id"`
	}
	err = to.call(ctx, http.MethodPost, "", m, &out)
	if strings.ContainsAny(out.ID, " \t\r\n") || len(out.ID) > mostName {
		out.ID = "" // then it can't be changed later
	}
	return out.ID, err
}

// put changes a message.
func (to target) put(ctx context.Context, m message, id string) error {
	return to.call(ctx, http.MethodPut, id, m, nil)
}

// call tells Teams something about a conversation's message; id = "" is a new
// one.
func (to target) call(ctx context.Context, method, id string, in, out any) error {
	var b []byte
	if in != nil {
		var err error
		if b, err = json.Marshal(in); err != nil {
			return fault.Wrap(err, fault.Invalid, "the message can't be written as JSON")
		}
	}
	where := strings.TrimSuffix(to.at.Service, "/") + "/v3/conversations/" + url.PathEscape(to.at.Conversation) + "/activities"
	if id != "" {
		where += "/" + url.PathEscape(id)
	}
	token := ""
	for try := 0; ; try++ {
		var err error
		if token, err = to.account.access.get(ctx, token); err != nil {
			return err
		}
		err = to.once(ctx, method, where, token, b, out)
		var no *refusal
		if try > 0 || !errors.As(err, &no) || no.status != http.StatusUnauthorized {
			return err
		}
	}
}

func (to target) once(ctx context.Context, method, where, token string, b []byte, out any) error {
	sent := false
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, where, bytes.NewReader(b))
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the conversation's address in Teams can't be used")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "Parley")
	if len(b) > 0 {
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := to.s.client.Do(r)
	if err != nil {
		return broken(ctx, err, sent)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if resp.StatusCode/100 == 2 {
		if err != nil {
			return broken(ctx, err, true)
		}
		if out != nil && len(bytes.TrimSpace(answer)) > 0 {
			_ = json.Unmarshal(answer, out) // what says no name has none
		}
		return nil
	}
	return refused(resp, answer, to.s.opts.Now())
}

func broken(ctx context.Context, err error, sent bool) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case sent:
		return fault.Wrap(err, fault.Timeout, "the connection to Teams broke; it is not certain that it has got this")
	}
	return fault.Wrap(err, fault.Unavailable, "Teams can't be reached")
}

// refusal is what Teams says when it does not do something.
type refusal struct {
	status int
	code   string
	text   string // for programs: it is shown to nobody
}

func (r *refusal) Error() string { return "status " + strconv.Itoa(r.status) + " " + r.code }

func (r *refusal) says(what string) bool { return strings.Contains(strings.ToLower(r.text), what) }

// refused reads why Teams does not do something.
func refused(resp *http.Response, body []byte, now time.Time) error {
	var in struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
		Message string `json:"message"` // of the older form, itself JSON with a subCode
	}
	_ = json.Unmarshal(body, &in)
	no := &refusal{status: resp.StatusCode, code: word(in.Error.Code), text: in.Error.Message}
	if no.code == "" {
		var older struct {
			Code string `json:"subCode"`
		}
		_ = json.Unmarshal([]byte(in.Message), &older)
		no.code, no.text = word(older.Code), in.Message
	}
	code := no.class()
	say := "Teams refuses this"
	if text := advice(no.code); text != "" {
		say = text
	} else if code == fault.Unavailable || code == fault.Timeout || code == fault.Limited {
		say = "Teams is not ready for this"
	}
	err := fault.Wrap(no, code, "%s (%s)", say, no)
	if code == fault.Limited {
		return err.After(retryAfter(resp, now))
	}
	return err
}

// class follows Microsoft's table: 412, 429, 502, 503 and 504 come again,
// everything else does not. Behind a gateway somebody may have done it.
func (r *refusal) class() fault.Code {
	switch r.status {
	case http.StatusTooManyRequests:
		return fault.Limited
	case http.StatusPreconditionFailed, http.StatusServiceUnavailable:
		return fault.Unavailable
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return fault.Timeout
	case http.StatusUnauthorized:
		return fault.Unauthenticated
	case http.StatusForbidden:
		if r.code == "ContentStreamNotAllowed" && r.says("cancel") {
			return fault.Canceled // by the person who reads it
		}
		return fault.Forbidden
	case http.StatusNotFound, http.StatusGone:
		return fault.NotFound
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	}
	return fault.Invalid
}

// advice says what to do about a code of Teams'.
func advice(code string) string {
	switch code {
	case "BotNotRegistered":
		return "Teams knows no bot of this app id: add the Teams channel to the bot in Azure, or check app_id"
	case "BotDisabledByAdmin":
		return "the organisation's administrator has blocked the bot; allow it in the Teams admin centre's app policies"
	case "BotNotInConversationRoster":
		return "the bot is not in this conversation any more; somebody has to add it again"
	case "ConversationBlockedByUser", "MessageWritesBlocked":
		return "the person has blocked or removed the bot; it can write again when they write to it"
	case "ConversationNotFound":
		return "there is no such conversation in Teams any more"
	case "ActivityNotFoundInConversation":
		return "the message is not in Teams any more"
	case "MessageSizeTooBig", "RequestEntityTooLarge":
		return "the message is too large for Teams; send smaller cards or fewer"
	case "InvalidBotApiHost":
		return "the conversation is in another of Microsoft's clouds; name its address in the account's setting services"
	case "NotEnoughPermissions":
		return "the bot lacks a permission for this; see the permissions in the app's manifest"
	}
	return ""
}

// word is a code that may be shown.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), 64)]
}

// retryAfter is when Microsoft wants to be asked again.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	const usual, most = 2 * time.Second, time.Hour
	h := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(h); err == nil && s > 0 {
		return min(time.Duration(min(s, 3600))*time.Second, most)
	}
	if at, err := http.ParseTime(h); err == nil && at.After(now) {
		return min(at.Sub(now), most)
	}
	return usual
}
