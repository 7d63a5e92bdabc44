package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	botSecret = "a-secret-of-one-bot"
	botSite   = "a-secret-of-the-bots-site"
)

// shop is a bot that runs elsewhere, as the configuration has it.
func shop(url string) string {
	return `{id: shop, url: "` + url + `", private: true, app_id: "app-1", secret: ` + botSecret + `, timeout: 2s}`
}

// newAway starts that bot; it takes everything, and answers invokes as they
// wish.
func newAway(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var a struct {
			Type  string
			Value struct{ Status int }
		}
		if err == nil {
			err = json.Unmarshal(b, &a)
		}
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case a.Value.Status > 0:
			w.WriteHeader(a.Value.Status)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/api/messages"
}

// connector is a bot of the Bot Framework's, right and wrong.
func connector(t *testing.T, node *caller) {
	t.Helper()
	const base = "/v3/conversations"
	bot := node.with("Authorization", "Bearer "+botSecret)
	conv := node.ok(201, "POST", "/api/v1/conversations", `{"bot":"shop"}`).text("id")
	path, gone := base+"/"+conv, base+"/local-000000000000000000000000"
	message := `{"type":"message","text":"Hello"}`
	id := bot.ok(200, "POST", path+"/activities", message).text("id")
	at := path + "/activities/" + strings.ReplaceAll(id, "|", "%7C")
	bot.ok(200, "POST", at, message)
	bot.ok(200, "PUT", at, `{"type":"message","text":"Hello again"}`)
	bot.ok(200, "POST", path+"/activities/history", `{"activities":[`+message+`]}`)
	bot.ok(200, "GET", at+"/members", "")
	bot.ok(200, "GET", path+"/members", "")
	bot.ok(200, "GET", path+"/members/shop", "")
	bot.ok(200, "GET", path+"/pagedmembers", "")
	bot.ok(200, "DELETE", at, "")
	file := bot.ok(200, "POST", path+"/attachments", `{"type":"text/plain","name":"a.txt","originalBase64":"aGVsbG8="}`).text("id")
	node.ok(200, "GET", "/v3/attachments/"+file, "")
	node.ok(200, "GET", "/v3/attachments/"+file+"/views/original", "")
	bot.ok(200, "POST", path+"/activities", `{"type":"typing"}`)
	node.until("GET", "/api/v1/conversations/"+conv+"/events?after=0", "", func(e sse) bool { return e.name == "typing" })
	made := bot.ok(201, "POST", base, `{"members":[{"id":"dl_ann"}],"activity":`+message+`}`)
	node.with("Authorization", "Bearer "+botSite).ok(200, "GET", "/v3/directline/conversations/"+made.text("id")+"/activities", "")

	node.ok(200, "GET", "/v3/bots/.well-known/openid-configuration", "")
	node.ok(200, "GET", "/v3/bots/keys", "")
	node.ok(200, "GET", "/v3/bots/discovery/v2.0/keys", "")
	form := node.with("Content-Type", "application/x-www-form-urlencoded")
	token := form.ok(200, "POST", "/v3/bots/token", "grant_type=client_credentials&client_id=app-1&client_secret="+botSecret).text("access_token")
	node.with("Authorization", "Bearer "+token).ok(200, "GET", path+"/members", "")
	form.ok(401, "POST", "/v3/bots/token", "grant_type=client_credentials&client_id=app-1&client_secret=x")
	form.bad(400, "POST", "/v3/bots/token", "grant_type=password")
	form.ok(413, "POST", "/v3/bots/token", "grant_type=client_credentials&client_id="+strings.Repeat("x", 20_000))
	side := "/v3/bots/shop/sidecar/AuthorizationHeaderUnauthenticated/default"
	node.ok(200, "GET", side, "")
	node.with("X-Forwarded-For", "8.8.8.8").ok(403, "GET", side, "")
	node.ok(404, "GET", strings.Replace(side, "shop", "nope", 1), "")

	page := node.with("Authorization", "Bearer "+botSite)
	line := "/v3/directline/conversations"
	begun := line + "/" + page.ok(201, "POST", line, "").text("conversationId") + "/activities"
	if got := page.ok(200, "POST", begun, `{"type":"invoke","name":"x","value":{"status":201}}`); got.get("value.status") != 201.0 {
		t.Errorf("an invoke is answered with %s", got.body)
	}
	page.ok(502, "POST", begun, `{"type":"invoke","name":"x","value":{"status":409}}`)

	large := `{"type":"message","text":"` + strings.Repeat("x", 70_000) + `"}`
	for _, x := range []struct {
		who                *caller
		status             int
		method, path, body string
	}{
		{node, 401, "POST", base, "{}"},
		{bot, 413, "POST", base, `{"topicName":"` + large[30:]},
		{node, 401, "POST", path + "/activities", message},
		{bot, 404, "POST", gone + "/activities", message},
		{bot, 413, "POST", path + "/activities", large},
		{node, 401, "POST", at, message},
		{bot, 404, "POST", gone + "/activities/x", message},
		{bot, 413, "POST", at, large},
		{node, 401, "PUT", at, message},
		{bot, 404, "PUT", path + "/activities/x", message},
		{bot, 413, "PUT", at, large},
		{node, 401, "DELETE", at, ""},
		{bot, 404, "DELETE", path + "/activities/x", ""},
		{node, 401, "POST", path + "/activities/history", `{"activities":[` + message + `]}`},
		{bot, 404, "POST", gone + "/activities/history", `{"activities":[` + message + `]}`},
		{bot, 413, "POST", path + "/activities/history", `{"activities":[` + strings.Repeat(large+",", 8) + message + `]}`},
		{node, 401, "GET", at + "/members", ""},
		{bot, 404, "GET", gone + "/activities/x/members", ""},
		{node, 401, "GET", path + "/members", ""},
		{bot, 404, "GET", gone + "/members", ""},
		{node, 401, "GET", path + "/members/shop", ""},
		{bot, 404, "GET", path + "/members/nobody", ""},
		{node, 401, "GET", path + "/pagedmembers", ""},
		{bot, 404, "GET", gone + "/pagedmembers", ""},
		{node, 401, "POST", path + "/attachments", `{"type":"text/plain","originalBase64":"eA=="}`},
		{bot, 404, "POST", gone + "/attachments", `{"type":"text/plain","originalBase64":"eA=="}`},
		{bot, 413, "POST", path + "/attachments", `{"type":"text/plain","originalBase64":"` + strings.Repeat("eHh4", 1_500_000) + `"}`},
		{node, 404, "GET", "/v3/attachments/nope", ""},
		{node, 404, "GET", "/v3/attachments/" + file + "/views/nope", ""},
	} {
		x.who.ok(x.status, x.method, x.path, x.body)
	}
	bot.bad(400, "POST", base, `{"members":5}`)
	bot.bad(400, "POST", path+"/activities", `{"text":"no type"}`)
	bot.bad(400, "POST", at, `{"text":"no type"}`)
	bot.bad(400, "PUT", at, `{"text":"no type"}`)
	bot.bad(400, "POST", path+"/activities/history", `{"activities":[]}`)
	bot.bad(400, "POST", path+"/attachments", `{"type":"text/plain"}`)
	node.ok(200, "PATCH", "/api/v1/conversations/"+conv, `{"trashed":true}`)
	bot.ok(409, "POST", path+"/activities", message)
	bot.ok(409, "POST", at, message)
	bot.ok(409, "POST", path+"/activities/history", `{"activities":[`+message+`]}`)
}
