// Package foreign reads what other chat programs export: ChatGPT, LibreChat,
// Open WebUI, and Parley itself. What may live here: their formats, brought into
// one form; nothing of where it goes.
package foreign

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
)

// Conversation is one of another program.
type Conversation struct {
	Source   string // "chatgpt", "librechat", "openwebui" or "parley"
	ID       string // the program's own
	Title    string
	Begun    time.Time // zero = not known
	Archived bool
	Tags     []string
	Messages []Message // a parent before its children; the branch that was on screen comes last
	Left     Left
	Missing  []string // names of the pictures and files that are counted in Left
}

// Message is one thing said.
type Message struct {
	ID     string // the program's own
	Parent string // ID of the message it follows, "" = none
	Bot    bool
	Model  string    // of an answer
	Text   string    // may be empty if there are Files
	At     time.Time // zero = not known
	Files  []File    // that go with it, of those that the export holds
	Liked  string    // what the user thought of it: Like, Dislike or ""
	Why    string    // in his words
}

// File is one that an export holds.
type File struct {
	Name string // as it was called, if that is known
	Type string // as the program has it; "" = it doesn't say
	Open func() (io.ReadCloser, error)
}

// What a user thinks of an answer.
const (
	Like    = "like"
	Dislike = "dislike"
)

// Left counts what could not be carried over, by what it is.
type Left map[string]int

// What can be left.
const (
	Pictures = "pictures" // that the export names and does not hold
	Files    = "files"    // likewise
	Refused  = "refused"  // too large here, empty, damaged, or of a type that is not taken
	Tools    = "tools"    // what tools were asked and answered, and thoughts
	Hidden   = "hidden"   // instructions that the program kept to itself
	Long     = "long"     // texts of more than MaxText bytes
	Nothing  = "empty"    // conversations without a word
)

// Limits of what is read.
const (
	MaxText  = 512 << 10 // bytes of a message
	MaxOne   = 32 << 20  // bytes of a conversation: some hold their pictures
	maxTitle = 200       // code points
)

// Read calls each with the conversations of an export, one after another as
// they come: a file may be larger than memory. Errors of each are returned as
// they are, others say what is wrong with the file.
func Read(r io.Reader, each func(Conversation) error) error {
	return read(r, &archive{}, each)
}

func read(r io.Reader, from *archive, each func(Conversation) error) error {
	m := &meter{r: r}
	d := json.NewDecoder(m)
	first, err := d.Token()
	if err != nil {
		return wrong(err)
	}
	switch first {
	case json.Delim('['):
		for d.More() {
			var raw json.RawMessage
			m.n = 0
			if err := d.Decode(&raw); err != nil {
				return wrong(err)
			}
			if err := one(raw, from, each); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return wrong(err)
		}
		return nil
	case json.Delim('{'):
		rest, err := io.ReadAll(io.MultiReader(strings.NewReader("{"), d.Buffered(), m))
		if err != nil {
			return wrong(err)
		}
		return one(rest, from, each)
	}
	return errUnknown
}

var (
	errUnknown = fault.New(fault.Invalid, "this is no export that is known here: the zip or conversations.json of ChatGPT, a JSON export of LibreChat or Open WebUI, or one of Parley")
	errLarge   = fault.New(fault.TooLarge, "a conversation has more than %d MiB", MaxOne>>20)
)

func wrong(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fault.New(fault.Invalid, "the file is neither a zip nor JSON (%s)", syntax.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(fault.Invalid, "the file is empty or breaks off in the middle")
	case fault.CodeOf(err) != fault.Internal:
		return err
	}
	return fault.Wrap(err, fault.Invalid, "the file broke off")
}

// meter fails when more than one conversation's bytes come without a pause in
// which n is set back.
type meter struct {
	r io.Reader
	n int
}

func (m *meter) Read(b []byte) (int, error) {
	if m.n > MaxOne {
		return 0, errLarge
	}
	n, err := m.r.Read(b[:min(len(b), MaxOne+1-m.n)])
	m.n += n
	return n, err
}

// one reads a conversation of whichever program.
func one(raw []byte, from *archive, each func(Conversation) error) error {
	var shape struct {
		Mapping      json.RawMessage `json:"mapping"`
		Chat         json.RawMessage `json:"chat"`
		Activities   json.RawMessage `json:"activities"`
		Conversation json.RawMessage `json:"conversation"`
		ID           json.RawMessage `json:"conversationId"`
		Messages     json.RawMessage `json:"messages"`
		Tree         json.RawMessage `json:"messagesTree"`
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		return shapeless(err)
	}
	var read func([]byte, *archive) (*tree, error)
	switch {
	case shape.Mapping != nil:
		read = chatGPT
	case shape.Chat != nil:
		read = openWebUI
	case shape.Activities != nil && shape.Conversation != nil:
		read = parley
	case shape.ID != nil && (shape.Messages != nil || shape.Tree != nil):
		read = libreChat
	default:
		return errUnknown
	}
	t, err := read(raw, from)
	if err != nil {
		return shapeless(err)
	}
	c := t.conversation()
	if c.ID == "" {
		return fault.New(fault.Invalid, "a conversation of the export has no id, so it could not be told from others")
	}
	return each(c)
}

func shapeless(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fault.New(fault.Invalid, "the export is not as its program writes it: %q is %s", kind.Field, kind.Value)
	}
	return wrong(err)
}

// tree is a conversation as programs keep it: nodes that know their parents,
// some of which hold nothing to be carried over.
type tree struct {
	Conversation
	current string // the node that was on screen last
	nodes   []node
}

type node struct {
	Message
	skip bool // only its place counts
}

// conversation puts the nodes in order. Where a parent is not there, or nodes
// are each other's parents, a branch begins anew.
func (t *tree) conversation() Conversation {
	at := map[string]int{}
	for i, n := range t.nodes {
		if _, twice := at[n.ID]; !twice {
			at[n.ID] = i
		}
	}
	onScreen := map[int]bool{}
	for i, ok := at[t.current]; ok && !onScreen[i]; i, ok = at[t.nodes[i].Parent] {
		onScreen[i] = true
	}
	children := map[int][]int{}
	const root = -1
	for i, n := range t.nodes {
		if at[n.ID] != i {
			continue // a second one of the same name
		}
		parent, ok := at[n.Parent]
		if !ok || n.Parent == n.ID {
			parent = root
		}
		children[parent] = append(children[parent], i)
	}
	c := t.Conversation
	if c.Left == nil {
		c.Left = Left{}
	}
	seen := map[int]bool{}
	type step struct {
		node   int
		parent string // the nearest one above that is carried over
	}
	walk := func(from []int) {
		var todo []step
		push := func(list []int, parent string) {
			list = slices.Clone(list)
			slices.SortStableFunc(list, func(a, b int) int {
				if onScreen[a] != onScreen[b] {
					return map[bool]int{true: 1, false: -1}[onScreen[a]]
				}
				return t.nodes[a].At.Compare(t.nodes[b].At)
			})
			for _, i := range slices.Backward(list) {
				todo = append(todo, step{i, parent})
			}
		}
		push(from, "")
		for len(todo) > 0 {
			s := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[s.node] {
				continue
			}
			seen[s.node] = true
			m := t.nodes[s.node].Message
			if c.take(&m, t.nodes[s.node].skip) {
				m.Parent = s.parent
				c.Messages = append(c.Messages, m)
				s.parent = m.ID
			}
			push(children[s.node], s.parent)
		}
	}
	walk(children[root])
	for i := range t.nodes { // what is only reached in a circle
		if at[t.nodes[i].ID] == i && !seen[i] {
			walk([]int{i})
		}
	}
	c.tidy()
	return c
}

// take decides whether a message is carried over, and counts it if it is not.
func (c *Conversation) take(m *Message, skip bool) bool {
	m.Text = strings.ToValidUTF8(m.Text, "\uFFFD")
	switch {
	case skip || strings.TrimSpace(m.Text) == "" && len(m.Files) == 0:
		return false
	case len(m.Text) > MaxText:
		c.Left[Long]++
		return false
	}
	return true
}

func (c *Conversation) tidy() {
	c.Title = strings.Join(strings.Fields(strings.ToValidUTF8(c.Title, "")), " ")
	if utf8.RuneCountInString(c.Title) > maxTitle {
		c.Title = string([]rune(c.Title)[:maxTitle-1]) + "…"
	}
	if len(c.Messages) == 0 {
		c.Left[Nothing]++
	}
}

// seconds reads a time in seconds since 1970, as those programs write them;
// some write milliseconds or nanoseconds.
func seconds(s float64) time.Time {
	if !(s > 0) || math.IsInf(s, 0) {
		return time.Time{}
	}
	for s > 1e11 {
		s /= 1000
	}
	whole, part := math.Modf(s)
	return time.Unix(int64(whole), int64(part*1e9)).UTC()
}

// when reads a time as text; what can't be read is not known.
func when(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// part is what a message is made of, in the words of those programs.
type part struct {
	Type    string          `json:"type"`
	Content string          `json:"content_type"`
	Text    json.RawMessage `json:"text"`
	Pointer string          `json:"asset_pointer"` // ChatGPT's
	Image   struct {        // LibreChat's
		ID   string `json:"file_id"`
		Name string `json:"filename"`
	} `json:"image_file"`
}

func (p part) kind() string { return cmp.Or(p.Content, p.Type) }

// text reads a list of texts and of objects that hold some. What is neither is
// for other.
func text(parts []json.RawMessage, other func(part)) string {
	var out []string
	for _, raw := range parts {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			out = append(out, s)
			continue
		}
		var p part
		if json.Unmarshal(raw, &p) != nil {
			continue
		}
		if kind := p.kind(); kind != "text" && kind != "audio_transcription" {
			other(p)
			continue
		}
		var inner struct {
			Value string `json:"value"`
		}
		if json.Unmarshal(p.Text, &s) == nil {
			out = append(out, s)
		} else if json.Unmarshal(p.Text, &inner) == nil {
			out = append(out, inner.Value)
		}
	}
	return strings.Join(slices.DeleteFunc(out, func(s string) bool { return strings.TrimSpace(s) == "" }), "\n\n")
}

// miss counts what the export only names.
func (t *tree) miss(what, name string) {
	t.Left[what]++
	if name = strings.TrimSpace(strings.ToValidUTF8(name, "")); name != "" {
		t.Missing = append(t.Missing, name)
	}
}
