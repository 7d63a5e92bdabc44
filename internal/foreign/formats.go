package foreign

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/activity"
)

// chatGPT reads a conversation of conversations.json.
func chatGPT(raw []byte) (*tree, error) {
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
					Model  string `json:"model_slug"`
					Hidden bool   `json:"is_visually_hidden_from_conversation"`
					Files  []struct {
						Type string `json:"mime_type"`
					} `json:"attachments"`
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
			switch {
			case m.Metadata.Hidden || role == "system":
				if text(m.Content.Parts, Left{}) != "" {
					t.Left[Hidden]++
				}
			case (role == "user" || role == "assistant") && said && (m.To == "" || m.To == "all"):
				n.Text, n.skip = text(m.Content.Parts, t.Left), false
				for _, f := range m.Metadata.Files {
					if !strings.HasPrefix(f.Type, "image/") { // pictures are parts
						t.Left[Files]++
					}
				}
			default:
				t.Left[Tools]++
			}
		}
		t.nodes = append(t.nodes, n)
	}
	return t, nil
}

type libreMessage struct {
	ID       string            `json:"messageId"`
	Parent   string            `json:"parentMessageId"`
	User     bool              `json:"isCreatedByUser"`
	Text     string            `json:"text"`
	Content  []json.RawMessage `json:"content"`
	Model    string            `json:"model"`
	Created  string            `json:"createdAt"`
	Files    []json.RawMessage `json:"files"`
	Children []libreMessage    `json:"children"`
}

// libreChat reads a JSON export of LibreChat, with its messages in a list or in
// a tree.
func libreChat(raw []byte) (*tree, error) {
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
			n.Text = text(m.Content, t.Left)
		}
		t.Left[Files] += len(m.Files)
		t.nodes = append(t.nodes, n)
		t.current = m.ID
		for _, c := range m.Children {
			todo = append(todo, item{c, m.ID})
		}
	}
	return t, nil
}

// openWebUI reads a chat of Open WebUI.
func openWebUI(raw []byte) (*tree, error) {
	type message struct {
		ID      string            `json:"id"`
		Parent  string            `json:"parentId"`
		Role    string            `json:"role"`
		Content string            `json:"content"`
		At      float64           `json:"timestamp"`
		Model   string            `json:"model"`
		Files   []json.RawMessage `json:"files"`
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
		for _, f := range m.Files {
			var kind struct {
				Type string `json:"type"`
			}
			if _ = json.Unmarshal(f, &kind); kind.Type == "image" {
				t.Left[Pictures]++
			} else {
				t.Left[Files]++
			}
		}
		t.nodes = append(t.nodes, n)
	}
	return t, nil
}

// parley reads what GET .../export gives.
func parley(raw []byte) (*tree, error) {
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
	for _, a := range in.Activities {
		m := a.Meta()
		if a.Type == activity.TypeMessage {
			t.current = a.ID
		} else if a.Type != activity.TypeDelete {
			t.Left[Tools]++
		}
		if !null(a.Extra["attachments"]) {
			t.Left[Files]++
		}
		t.nodes = append(t.nodes, node{
			Message: Message{ID: a.ID, Parent: m.Parent, Bot: a.FromBot(), Model: m.Model, Text: a.Text, At: a.Timestamp},
			skip:    a.Type != activity.TypeMessage,
		})
	}
	return t, nil
}
