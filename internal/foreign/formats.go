package foreign

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/files"
)

type chatAttachment struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"mime_type"`
}

// chatGPT reads a conversation of conversations.json. Its pictures are parts of
// messages and point to files; what else was attached is told beside them.
func chatGPT(raw []byte, from *archive) (*tree, error) {
	var in struct {
		ID       string  `json:"id"`
		Own      string  `json:"conversation_id"`
		Title    string  `json:"title"`
		Created  float64 `json:"create_time"`
		Current  string  `json:"current_node"`
		Archived bool    `json:"is_archived"`
		Mapping  map[string]struct {
			Parent  string `json:"parent"`
			Message *struct {
				Author struct {
					Role string `json:"role"`
				} `json:"author"`
				Created float64 `json:"create_time"`
				To      string  `json:"recipient"`
				Content struct {
					Type  string            `json:"content_type"`
					Parts []json.RawMessage `json:"parts"`
				} `json:"content"`
				Metadata struct {
					Model  string           `json:"model_slug"`
					Hidden bool             `json:"is_visually_hidden_from_conversation"`
					Files  []chatAttachment `json:"attachments"`
				} `json:"metadata"`
			} `json:"message"`
		} `json:"mapping"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	t := &tree{Conversation: Conversation{
		Source: "chatgpt", ID: cmp.Or(in.Own, in.ID), Title: in.Title, Begun: seconds(in.Created), Archived: in.Archived, Left: Left{},
	}, current: in.Current}
	for _, id := range slices.Sorted(maps.Keys(in.Mapping)) {
		n := node{Message: Message{ID: id, Parent: in.Mapping[id].Parent}, skip: true}
		if m := in.Mapping[id].Message; m != nil {
			role, kind := m.Author.Role, m.Content.Type
			n.Bot, n.Model, n.At = role == "assistant", m.Metadata.Model, seconds(m.Created)
			said := kind == "text" || kind == "multimodal_text"
			if op, ok := from.opinions[id]; ok && n.Bot {
				n.Liked, n.Why = op.liked, op.why
			}
			switch {
			case m.Metadata.Hidden || role == "system":
				if text(m.Content.Parts, func(part) {}) != "" {
					t.Left[Hidden]++
				}
			case (role == "user" || role == "assistant") && said && (m.To == "" || m.To == "all"):
				n.Text, n.skip = t.chatParts(&n, m.Content.Parts, m.Metadata.Files, from), false
			case role == "tool" && kind == "multimodal_text":
				// A picture that was made. What the tool says of it is not for people.
				if t.chatParts(&n, m.Content.Parts, nil, from); len(n.Files) > 0 {
					n.Bot, n.skip = true, false
				} else {
					t.Left[Tools]++
				}
			default:
				t.Left[Tools]++
			}
		}
		t.nodes = append(t.nodes, n)
	}
	return t, nil
}

// chatParts reads the text of a message and puts the files with it that the
// archive holds.
func (t *tree) chatParts(n *node, parts []json.RawMessage, attached []chatAttachment, from *archive) string {
	known := map[string]chatAttachment{}
	for _, a := range attached {
		known[a.ID] = a
	}
	carry := func(what, id string) {
		a := known[id]
		if f, ok := from.file(id, a.Name, a.Type); ok {
			n.Files = append(n.Files, f)
		} else {
			t.miss(what, cmp.Or(a.Name, id))
		}
	}
	shown := map[string]bool{}
	out := text(parts, func(p part) {
		switch kind := p.kind(); {
		case strings.Contains(kind, "asset_pointer"):
			id := p.Pointer[strings.LastIndex(p.Pointer, "/")+1:] // behind file-service:// or sediment://
			shown[id] = true
			if strings.Contains(kind, "image") {
				carry(Pictures, id)
			} else {
				carry(Files, id)
			}
		case strings.Contains(kind, "think") || strings.Contains(kind, "tool"):
			t.Left[Tools]++
		default:
			t.miss(Files, "")
		}
	})
	for _, a := range attached {
		if !shown[a.ID] && (!strings.HasPrefix(a.Type, "image/") || from.has(a.ID)) { // pictures are parts, but for some old ones
			carry(Files, a.ID)
		}
	}
	return out
}

type libreMessage struct {
	ID      string            `json:"messageId"`
	Parent  string            `json:"parentMessageId"`
	User    bool              `json:"isCreatedByUser"`
	Text    string            `json:"text"`
	Content []json.RawMessage `json:"content"`
	Model   string            `json:"model"`
	Created string            `json:"createdAt"`
	Files   []struct {
		Name string `json:"filename"`
		Type string `json:"type"`
	} `json:"files"`
	Feedback *struct {
		Rating string `json:"rating"`
		Text   string `json:"text"`
	} `json:"feedback"`
	Children []libreMessage `json:"children"`
}

// libreChat reads a JSON export of LibreChat, with its messages in a list or in
// a tree. It names files and holds none.
func libreChat(raw []byte, _ *archive) (*tree, error) {
	var in struct {
		ID       string         `json:"conversationId"`
		Title    string         `json:"title"`
		Created  string         `json:"createdAt"`
		Archived bool           `json:"isArchived"`
		Tags     []string       `json:"tags"`
		Messages []libreMessage `json:"messages"`
		Tree     []libreMessage `json:"messagesTree"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	t := &tree{Conversation: Conversation{
		Source: "librechat", ID: in.ID, Title: in.Title, Begun: when(in.Created), Archived: in.Archived, Tags: in.Tags, Left: Left{},
	}}
	type item struct {
		m      libreMessage
		parent string
	}
	var todo []item
	for _, m := range slices.Concat(in.Messages, in.Tree) {
		todo = append(todo, item{m, m.Parent})
	}
	for len(todo) > 0 {
		m, parent := todo[0].m, todo[0].parent
		todo = todo[1:]
		n := node{Message: Message{ID: m.ID, Parent: parent, Bot: !m.User, Text: m.Text, At: when(m.Created)}}
		if n.Bot {
			n.Model = m.Model
		}
		if strings.TrimSpace(m.Text) == "" {
			n.Text = text(m.Content, func(p part) {
				switch kind := p.kind(); {
				case strings.Contains(kind, "image"):
					t.miss(Pictures, cmp.Or(p.Image.Name, p.Image.ID))
				case strings.Contains(kind, "think") || strings.Contains(kind, "tool"):
					t.Left[Tools]++
				default:
					t.miss(Files, "")
				}
			})
		}
		if m.Feedback != nil && n.Bot {
			n.Liked, n.Why = liked(m.Feedback.Rating), m.Feedback.Text
		}
		for _, f := range m.Files {
			if strings.HasPrefix(f.Type, "image/") {
				t.miss(Pictures, f.Name)
			} else {
				t.miss(Files, f.Name)
			}
		}
		t.nodes = append(t.nodes, n)
		t.current = m.ID
		for _, c := range m.Children {
			todo = append(todo, item{c, m.ID})
		}
	}
	return t, nil
}

// webFile is a file of Open WebUI: pictures may be in their own address, and of
// what was read by it the text is there.
type webFile struct {
	Type string `json:"type"`
	Kind string `json:"content_type"`
	URL  string `json:"url"`
	Name string `json:"name"`
	File struct {
		Name string `json:"filename"`
		Data struct {
			Content string `json:"content"`
		} `json:"data"`
		Meta struct {
			Type string `json:"content_type"`
		} `json:"meta"`
	} `json:"file"`
}

// file returns what an export holds of it: not what was only read from a file
// that is no text itself.
func (f webFile) file() (File, bool) {
	name := cmp.Or(f.Name, f.File.Name)
	if kind, content, ok := dataURL(f.URL); ok {
		return File{Name: name, Type: kind, Open: content}, true
	}
	if kind := f.File.Meta.Type; f.File.Data.Content != "" && (strings.HasPrefix(kind, "text/") || kind == "application/json") {
		return File{Name: name, Type: kind, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(f.File.Data.Content)), nil
		}}, true
	}
	return File{}, false
}

// openWebUI reads a chat of Open WebUI.
func openWebUI(raw []byte, _ *archive) (*tree, error) {
	type message struct {
		ID      string            `json:"id"`
		Parent  string            `json:"parentId"`
		Role    string            `json:"role"`
		Content string            `json:"content"`
		At      float64           `json:"timestamp"`
		Model   string            `json:"model"`
		Files   []json.RawMessage `json:"files"`
		Opinion json.RawMessage   `json:"annotation"`
	}
	var in struct {
		ID       string  `json:"id"`
		Title    string  `json:"title"`
		Created  float64 `json:"created_at"`
		Archived bool    `json:"archived"`
		Meta     struct {
			Tags []string `json:"tags"`
		} `json:"meta"`
		Chat struct {
			ID       string    `json:"id"`
			Title    string    `json:"title"`
			Messages []message `json:"messages"`
			History  struct {
				Messages map[string]message `json:"messages"`
				Current  string             `json:"currentId"`
			} `json:"history"`
		} `json:"chat"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	t := &tree{Conversation: Conversation{
		Source: "openwebui", ID: cmp.Or(in.ID, in.Chat.ID), Title: cmp.Or(in.Title, in.Chat.Title), Begun: seconds(in.Created),
		Archived: in.Archived, Tags: in.Meta.Tags, Left: Left{},
	}, current: in.Chat.History.Current}
	all := in.Chat.Messages
	if len(in.Chat.History.Messages) > 0 {
		all = nil
		for _, id := range slices.Sorted(maps.Keys(in.Chat.History.Messages)) {
			m := in.Chat.History.Messages[id]
			m.ID = id
			all = append(all, m)
		}
	}
	for _, m := range all {
		n := node{Message: Message{ID: m.ID, Parent: m.Parent, Bot: m.Role == "assistant", Text: m.Content, At: seconds(m.At)}}
		if n.Bot {
			n.Model = m.Model
		}
		if !n.Bot && m.Role != "user" {
			n.skip = true
			t.Left[Hidden]++
		}
		var op struct {
			Rating  json.RawMessage `json:"rating"` // 1 or -1
			Comment string          `json:"comment"`
		}
		if n.Bot && json.Unmarshal(m.Opinion, &op) == nil {
			n.Liked, n.Why = liked(strings.Trim(string(op.Rating), `"`)), op.Comment
		}
		for _, raw := range m.Files {
			var f webFile
			_ = json.Unmarshal(raw, &f) // what can't be read has no name
			if got, ok := f.file(); ok && !n.skip {
				n.Files = append(n.Files, got)
			} else if f.Type == "image" || strings.HasPrefix(f.Kind, "image/") {
				t.miss(Pictures, cmp.Or(f.Name, f.File.Name))
			} else {
				t.miss(Files, cmp.Or(f.Name, f.File.Name))
			}
		}
		t.nodes = append(t.nodes, n)
	}
	return t, nil
}

// parley reads what GET .../export gives.
func parley(raw []byte, _ *archive) (*tree, error) {
	var in struct {
		Conversation struct {
			ID       string   `json:"id"`
			Title    string   `json:"title"`
			Created  string   `json:"created"`
			Archived bool     `json:"archived"`
			Tags     []string `json:"tags"`
		} `json:"conversation"`
		Activities []activity.Activity `json:"activities"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	c := in.Conversation
	t := &tree{Conversation: Conversation{
		Source: "parley", ID: c.ID, Title: c.Title, Begun: when(c.Created), Archived: c.Archived, Tags: c.Tags, Left: Left{},
	}}
	at := map[string]int{}
	for _, a := range in.Activities {
		m := a.Meta()
		switch a.Type {
		case activity.TypeMessage:
			t.current = a.ID
		case activity.TypeReaction:
			if i, ok := at[a.ReplyToID]; ok && !a.FromBot() {
				t.nodes[i].react(a)
			}
		case activity.TypeDelete:
		default:
			t.Left[Tools]++
		}
		for _, f := range files.Of(&a) {
			if strings.HasPrefix(f.Type, "image/") {
				t.miss(Pictures, f.Name)
			} else {
				t.miss(Files, f.Name)
			}
		}
		at[a.ID] = len(t.nodes)
		t.nodes = append(t.nodes, node{
			Message: Message{ID: a.ID, Parent: m.Parent, Bot: a.FromBot(), Model: m.Model, Text: a.Text, At: a.Timestamp},
			skip:    a.Type != activity.TypeMessage,
		})
	}
	return t, nil
}

// react takes what a user thought last.
func (n *node) react(a activity.Activity) {
	kind := func(field string) string {
		var all []struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(a.Extra[field], &all) != nil || len(all) == 0 {
			return ""
		}
		return all[0].Type
	}
	if is := kind("reactionsAdded"); is == Like || is == Dislike {
		n.Liked, n.Why = is, a.Text
	} else if is := kind("reactionsRemoved"); is != "" && is == n.Liked {
		n.Liked, n.Why = "", ""
	}
}
