package api

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
)

// Widget says which web sites may show the chat bubble, and what their
// visitors may do: strangers who show no key. The zero Widget lets nobody in.
type Widget struct {
	Origins  []string  // of the sites
	Own      bool      // the node's own page may show it though no site is named: it can be reached from this machine alone
	Bots     []BotInfo // whom visitors may talk to; the first is the default
	Region   string    // where their conversations are at home
	Regions  []string  // origins at which the service is found too
	Message  int       // bytes of one message; 0 = 4 KiB
	Guests   int       // new ones from one address in a minute; 0 = 10
	Messages int       // of one guest in a minute; 0 = 20
}

// An address stands for many people at times: an office, a school.
const (
	crowd       = 10 // times the messages of one guest that an address may send
	guestStream = 20 // event streams of one guest at once: as many tabs
)

// lobby holds what is counted of guests. The counts are this node's own.
type lobby struct {
	Widget
	limits struct {
		guests, messages, crowds *channel.Limiter
	}

	mu      sync.Mutex // guards streams
	streams map[string]int
}

func newLobby(w Widget) *lobby {
	l := &lobby{Widget: w, streams: map[string]int{}}
	set := func(n *int, standard int) {
		if *n == 0 {
			*n = standard
		}
	}
	set(&l.Message, 4<<10)
	set(&l.Guests, 10)
	set(&l.Messages, 20)
	minute := func(n int) *channel.Limiter { return channel.NewLimiter(float64(n)/60, n, 0) }
	l.limits.guests, l.limits.messages, l.limits.crowds = minute(l.Guests), minute(l.Messages), minute(crowd*l.Messages)
	return l
}

// named reports whether the pages of an origin may show the widget.
func (l *lobby) named(origin string) bool {
	return slices.Contains(l.Origins, origin) || len(l.Origins) > 0 && slices.Contains(l.Regions, origin)
}

// may is named, or the node's own page where there is a widget at all.
func (l *lobby) may(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if l.named(origin) {
		return nil
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && u.Host == r.Host && (l.Own || len(l.Origins) > 0) {
		return nil
	}
	if origin == "" {
		return fault.New(fault.Forbidden, "only pages may do this, and a browser says in Origin which one asks")
	}
	return fault.New(fault.Forbidden, "pages of %.200s may not show the widget: name that origin under widget.origins", origin)
}

// bot returns the bot that visitors ask for by id.
func (l *lobby) bot(id string) (BotInfo, error) {
	for _, b := range l.Bots {
		if id == "" || b.ID == id {
			return b, nil
		}
	}
	return BotInfo{}, fault.New(fault.NotFound, "there is no bot %.100q for visitors: widget.bots names those there are", id)
}

// newcomer counts a new guest from an address.
func (l *lobby) newcomer(address string) error {
	if wait, ok := l.limits.guests.Take(address, time.Now()); !ok {
		return fault.New(fault.Limited, "too many visitors begin at once where you are; try again in a while").After(wait)
	}
	return nil
}

// says counts what asks for an answer.
func (l *lobby) says(guest, address string) error {
	wait, ok := l.limits.messages.Take(guest, time.Now())
	if ok {
		wait, ok = l.limits.crowds.Take(address, time.Now())
	}
	if !ok {
		return fault.New(fault.Limited, "too many messages in a short time; try again in a while").After(wait)
	}
	return nil
}

// listens counts an open event stream; leave ends it.
func (l *lobby) listens(guest string) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams[guest] >= guestStream {
		return nil, fault.New(fault.Limited, "too many pages have this chat open; close some").After(10 * time.Second)
	}
	l.streams[guest]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.streams[guest]--; l.streams[guest] == 0 {
			delete(l.streams, guest)
		}
	}, nil
}

// address is where a request comes from: for an IPv6 address its network,
// which is what one household is given. Proxies of our own net are looked
// through.
func address(r *http.Request) string {
	at := func(s string) netip.Addr {
		if host, _, err := net.SplitHostPort(s); err == nil {
			s = host
		}
		a, _ := netip.ParseAddr(strings.TrimSpace(s))
		return a.Unmap()
	}
	ours := func(a netip.Addr) bool { return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() }
	a := at(r.RemoteAddr)
	passed := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(passed) - 1; i >= 0 && ours(a); i-- {
		before := at(passed[i])
		if !before.IsValid() {
			break
		}
		a = before
	}
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// visitors lets the pages of the named sites read what their guests are told.
// A request that shows a guest's pass acts for that guest alone: no cookie can
// be misused by it, so it needs no protection against that, and gets none of
// the rights of the origins that api.Options names.
func (s *server) visitors(routes, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begins := r.URL.Path == "/api/v1/widget/session"
		guest := auth.ShowsGuest(r) && strings.HasPrefix(r.URL.Path, "/api/v1/conversations")
		if origin := r.Header.Get("Origin"); s.lobby.named(origin) {
			h := w.Header()
			h.Add("Vary", "Origin")
			asks := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
			if asks || guest || begins || r.URL.Path == "/readyz" {
				h.Set("Access-Control-Allow-Origin", origin)
				h.Set("Access-Control-Expose-Headers", "Retry-After")
			}
			if asks {
				h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
				h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Parley-Position, X-Parley")
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		} else if guest && origin != "" {
			if err := s.lobby.may(r); err != nil {
				writeFault(w, err)
				return
			}
		}
		if guest || begins {
			routes.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guestCall is a request of a guest.
type guestCall func(w http.ResponseWriter, r *http.Request, guest auth.Guest) error

// as is a call for a guest that does the same for every user.
func as(f call) guestCall {
	return func(w http.ResponseWriter, r *http.Request, guest auth.Guest) error { return f(w, r, guest.ID) }
}

// either serves users by one call and guests by another.
func (s *server) either(f call, g guestCall) http.Handler {
	users := s.user(f, writeFault)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !auth.ShowsGuest(r) {
			users.ServeHTTP(w, r)
			return
		}
		guest, err := s.opts.Guard.Guest(r)
		if err == nil {
			if _, gone := s.lobby.bot(guest.Bot); gone != nil || guest.Bot == "" {
				err = fault.New(fault.Unauthenticated, "the bot of this guest's pass is not for visitors any more: ask for a new one")
			}
		}
		if err == nil {
			err = g(w, r, guest)
		}
		if err != nil {
			s.note(r, err)
			writeFault(w, err)
		}
	})
}

type widgetJSON struct {
	Pass    string    `json:"pass"`
	Until   time.Time `json:"until"`
	Guest   string    `json:"guest"`
	Bot     BotInfo   `json:"bot"`
	Region  string    `json:"region"`
	Regions []string  `json:"regions"`
	Message int       `json:"message_bytes"`
}

// widgetSession makes a guest, or gives one that was made a new pass.
func (s *server) widgetSession(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Bot string `json:"bot"`
	}
	guest, err := s.opts.Guard.Guest(r)
	if err != nil && !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	if err := s.lobby.may(r); err != nil {
		return err
	}
	if err := readJSON(w, r, 4096, &in); err != nil {
		return err
	}
	bot, err := s.lobby.bot(in.Bot)
	if err != nil {
		return err
	}
	if guest.Bot != bot.ID {
		if err := s.lobby.newcomer(address(r)); err != nil {
			return err
		}
		guest = auth.NewGuest(bot.ID)
	}
	pass, until := s.opts.Guard.GuestPass(guest)
	return writeJSON(w, http.StatusOK, widgetJSON{
		Pass: pass, Until: until.UTC().Truncate(time.Second), Guest: guest.ID, Bot: bot, Region: s.lobby.Region,
		Regions: append([]string{}, s.lobby.Regions...), Message: s.lobby.Message,
	})
}

// guestCreate begins a conversation with the bot of the guest's pass.
func (s *server) guestCreate(w http.ResponseWriter, r *http.Request, guest auth.Guest) error {
	var in struct {
		Home string `json:"home"`
	}
	k, err := key(r)
	if err == nil {
		err = readJSON(w, r, 4096, &in)
	}
	if err == nil {
		err = s.lobby.says(guest.ID, address(r))
	}
	if err != nil {
		return err
	}
	id, _, err := s.opts.Chat.Create(r.Context(), chat.NewConversation{Owner: guest.ID, Bot: guest.Bot, Home: in.Home, Channel: "widget", Key: k})
	if err != nil {
		return err
	}
	r.SetPathValue("id", id)
	w.Header().Set("Location", "/api/v1/conversations/"+id)
	return s.answer(w, r, guest.ID, http.StatusCreated)
}

// guestSay takes a text and nothing else: whatever a stranger adds to an
// activity is dropped.
func (s *server) guestSay(w http.ResponseWriter, r *http.Request, guest auth.Guest) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	b, err := readBody(w, r, min(s.opts.MaxBody, int64(6*s.lobby.Message)+4096)) // \u00e4 is six bytes for one
	if err != nil {
		return err
	}
	var in struct {
		Type        string `json:"type"`
		Text        string `json:"text"`
		ChannelData struct {
			Client struct {
				Key string `json:"key"`
			} `json:"client"`
			Parley struct {
				Parent string `json:"parent"`
			} `json:"parley"`
		} `json:"channelData"`
	}
	if err := decode(b, &in, false); err != nil {
		return err
	}
	if in.Type != activity.TypeMessage {
		return fault.New(fault.Invalid, `a guest sends activities of the type "message"`)
	}
	if len(in.Text) > s.lobby.Message {
		return fault.New(fault.TooLarge, "the message has %d bytes; at most %d are taken", len(in.Text), s.lobby.Message)
	}
	if err := s.lobby.says(guest.ID, address(r)); err != nil {
		return err
	}
	mark, err := json.Marshal(map[string]any{"client": in.ChannelData.Client})
	if err != nil {
		return err
	}
	acc, err := s.opts.Chat.Submit(r.Context(), chat.Message{
		Owner: guest.ID, Conversation: r.PathValue("id"), Key: k, Follows: in.ChannelData.Parley.Parent,
		Activity: activity.Activity{Type: in.Type, Text: in.Text, ChannelData: mark},
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, acceptedJSON{ID: acc.ID, Turn: acc.Turn, Position: conversation.PositionOf(acc.Seq)})
}

func (s *server) guestAgain(w http.ResponseWriter, r *http.Request, guest auth.Guest) error {
	if err := s.lobby.says(guest.ID, address(r)); err != nil {
		return err
	}
	return s.regenerate(w, r, guest.ID)
}

func (s *server) guestEvents(w http.ResponseWriter, r *http.Request, guest auth.Guest) error {
	leave, err := s.lobby.listens(guest.ID)
	if err != nil {
		return err
	}
	defer leave()
	return s.events(w, r, guest.ID)
}
