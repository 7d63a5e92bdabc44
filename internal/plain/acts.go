package plain

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

// door is where who has a key comes in.
func (p *pages) door(w http.ResponseWriter, r *http.Request) error {
	return p.knock(w, r, http.StatusOK, r.URL.Query().Get("to"), "")
}

func (p *pages) knock(w http.ResponseWriter, r *http.Request, status int, to, problem string) error {
	s := p.sheet(r, "Parley")
	s.Problem = problem
	return p.show(w, status, "door", struct {
		sheet
		To string
	}{s, local(to)})
}

func (p *pages) signIn(w http.ResponseWriter, r *http.Request) error {
	f := &post{}
	if err := p.read(w, r, f); err != nil {
		return err
	}
	if err := p.opts.Guard.SignIn(w, r, f.Get("secret")); err != nil {
		return p.knock(w, r, http.StatusUnauthorized, f.Get("to"), spoken(r).WrongKey)
	}
	http.Redirect(w, r, local(f.Get("to")), http.StatusSeeOther)
	return nil
}

// signOut needs no token: who is made to go comes in again.
func (p *pages) signOut(w http.ResponseWriter, r *http.Request) error {
	p.opts.Guard.SignOut(w)
	http.Redirect(w, r, "/plain/login", http.StatusSeeOther)
	return nil
}

// place is the address of a conversation's page.
func place(id string) string { return "/plain/c/" + url.PathEscape(id) }

// after leads to a conversation once that has seen an entry, at what is newest.
// Another region may be the one that is asked.
func after(id, at string, seq uint64) string {
	q := url.Values{}
	if at != "" {
		q.Set("at", at)
	}
	if seq > 0 {
		q.Set("seen", strconv.FormatUint(seq, 10))
	}
	return place(id) + "?" + q.Encode() + "#newest"
}

var errUnnamed = fault.New(fault.Invalid, "the form has no key; load the page again")

// begin makes a conversation and says the first thing in it. Both have the
// form's key, and the region that made the form: posted twice, wherever to, it
// is one conversation.
func (p *pages) begin(r *http.Request, f *post) (string, error) {
	if f.Get("key") == "" {
		return "", errUnnamed
	}
	if err := f.some(); err != nil {
		return "", err
	}
	id, _, err := p.opts.Chat.Create(r.Context(), chat.NewConversation{Owner: f.user, Bot: f.Get("bot"), Home: f.Get("home"), Channel: "web", Key: f.Get("key")})
	if err != nil {
		return "", err
	}
	return p.tell(r, f, id)
}

func (p *pages) say(r *http.Request, f *post) (string, error) {
	if f.Get("key") == "" {
		return "", errUnnamed
	}
	if err := f.some(); err != nil {
		return "", err
	}
	return p.tell(r, f, r.PathValue("id"))
}

// some refuses a form in which there is nothing to say.
func (f *post) some() error {
	if f.text("text") == "" && (f.file == nil || f.file.FileName() == "") {
		return fault.New(fault.Invalid, "there is nothing to send")
	}
	return nil
}

// tell keeps the files and then says what names them.
func (p *pages) tell(r *http.Request, f *post, id string) (string, error) {
	var carried []files.Attachment
	limits := p.opts.Chat.Limits()
	err := f.files(limits.Size, func(u upload) error {
		if len(carried) >= limits.Count {
			return fault.New(fault.TooLarge, "at most %d files go with one message", max(limits.Count, 0))
		}
		key := fmt.Sprintf("%s %d", f.Get("key"), len(carried))
		at, err := p.opts.Chat.Upload(r.Context(), f.user, id, key, files.File{Name: u.name, Type: u.kind, Content: u.content})
		carried = append(carried, at)
		return err
	})
	if err != nil {
		return "", err
	}
	a := activity.Activity{Type: activity.TypeMessage, Text: f.text("text")}
	if len(carried) > 0 {
		raw, err := json.Marshal(carried)
		if err != nil {
			return "", err
		}
		a.Extra = map[string]json.RawMessage{"attachments": raw}
	}
	acc, err := p.opts.Chat.Submit(r.Context(), chat.Message{Owner: f.user, Conversation: id, Activity: a, Key: f.Get("key"), Edits: f.Get("edits"), Follows: f.Get("follows")})
	if err != nil {
		return "", err
	}
	return after(id, acc.ID, acc.Seq), nil
}

func (p *pages) stop(r *http.Request, f *post) (string, error) {
	id, turn := r.PathValue("id"), f.Get("turn")
	if err := p.opts.Chat.StopTurn(r.Context(), f.user, id, turn); err != nil {
		return "", err
	}
	return after(id, event.AnswerOf(turn), 0), nil
}

func (p *pages) again(r *http.Request, f *post) (string, error) {
	id := r.PathValue("id")
	acc, err := p.opts.Chat.Regenerate(r.Context(), f.user, id, f.Get("turn"), f.Get("key"), event.Turn{})
	if err != nil {
		return "", err
	}
	return after(id, event.AnswerOf(acc.Turn), acc.Seq), nil
}

func (p *pages) more(r *http.Request, f *post) (string, error) {
	id := r.PathValue("id")
	acc, err := p.opts.Chat.Continue(r.Context(), f.user, id, f.Get("turn"), f.Get("key"))
	if err != nil {
		return "", err
	}
	return after(id, event.AnswerOf(acc.Turn), acc.Seq), nil
}

// think says what the reader thinks of an answer; the same again takes it back.
func (p *pages) think(r *http.Request, f *post) (string, error) {
	id, is := r.PathValue("id"), f.Get("is")
	if is != "like" && is != "dislike" {
		return "", fault.New(fault.Invalid, "a reaction is like or dislike")
	}
	field := "reactionsAdded"
	if is == f.Get("was") {
		field = "reactionsRemoved"
	}
	a := activity.Activity{Type: activity.TypeReaction, ReplyToID: f.Get("on"), Extra: map[string]json.RawMessage{field: json.RawMessage(`[{"type":"` + is + `"}]`)}}
	acc, err := p.opts.Chat.Submit(r.Context(), chat.Message{Owner: f.user, Conversation: id, Activity: a, Key: f.Get("key") + " " + is})
	if err != nil {
		return "", err
	}
	q := url.Values{"seen": {strconv.FormatUint(acc.Seq, 10)}}
	if at := f.Get("follows"); at != "" {
		q.Set("at", at)
	}
	return place(id) + "?" + q.Encode() + "#" + url.PathEscape(f.Get("on")), nil
}

func (p *pages) rename(r *http.Request, f *post) (string, error) {
	id := r.PathValue("id")
	seq, err := p.opts.Chat.Rename(r.Context(), f.user, id, f.text("title"))
	if err != nil {
		return "", err
	}
	return place(id) + "?seen=" + strconv.FormatUint(seq, 10), nil
}

func (p *pages) remove(r *http.Request, f *post) (string, error) {
	_, err := p.opts.Chat.Delete(r.Context(), f.user, r.PathValue("id"))
	if err != nil && !fault.Is(err, fault.NotFound) { // it is gone already
		return "", err
	}
	return "/plain", nil
}
