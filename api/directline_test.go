package api_test

import (
	"strings"
	"testing"
)

// directLine is a client of that protocol, right and wrong.
func directLine(t *testing.T, node *caller) {
	t.Helper()
	const base = "/v3/directline"
	site := node.with("Authorization", "Bearer "+siteSecret)
	tok := site.ok(200, "POST", base+"/tokens/generate", `{"user":{"id":"dl_ann","name":"Ann"}}`)
	page := node.with("Authorization", "Bearer "+tok.text("token"))
	path := base + "/conversations/" + tok.text("conversationId")
	page.ok(201, "POST", base+"/conversations", `{"locale":"en-US"}`)
	page.ok(200, "POST", base+"/conversations", "")
	page.ok(200, "POST", base+"/tokens/refresh", "")
	page.ok(200, "GET", base+"/session/getsessionid", "")
	id := page.ok(200, "POST", path+"/activities", `{"type":"message","text":"Where is the zebra?","from":{"id":"dl_ann"}}`).text("id")
	all := page.ok(200, "GET", path+"/activities?watermark=", "")
	if all.text("activities.0.id") != id || all.text("activities.0.from.id") != "dl_ann" {
		t.Errorf("the page %s should begin with %s", all.body, id)
	}
	page.ok(200, "GET", path+"?watermark="+all.text("watermark"), "")
	page.with("Content-Type", "text/plain").ok(200, "POST", path+"/upload?userId=x", "hello file")
	all = page.ok(200, "GET", path+"/activities?watermark="+all.text("watermark"), "")
	for i := range 4 { // an answer may stand before it
		if _, url, ok := strings.Cut(all.text("activities."+string(rune('0'+i))+".attachments.0.contentUrl"), base); ok {
			node.ok(200, "GET", base+url, "")
			node.ok(404, "GET", base+url[:len(url)-8]+"/file", "")
			break
		} else if i == 3 {
			t.Errorf("no file in %s", all.body)
		}
	}

	own := node.ok(200, "POST", "/api/v1/directline/token", "")
	mine := node.with("Authorization", "Bearer "+own.text("token"))
	mine.ok(201, "POST", base+"/conversations", "")
	node.ok(200, "POST", "/api/v1/directline/token", `{"conversation":"`+own.text("conversationId")+`"}`)
	node.ok(404, "POST", "/api/v1/directline/token", `{"conversation":"`+tok.text("conversationId")+`"}`)
	node.bad(400, "POST", "/api/v1/directline/token", `{"conversation":5}`)
	node.with("Host", "evil.example").ok(403, "POST", "/api/v1/directline/token", "")
	node.ok(413, "POST", "/api/v1/directline/token", `{"conversation":"`+strings.Repeat("x", 5000)+`"}`)

	other := node.with("Authorization", "Bearer "+site.ok(200, "POST", base+"/tokens/generate", "").text("token"))
	fussy := node.with("Authorization", "Bearer "+site.ok(200, "POST", base+"/tokens/generate", `{"trustedOrigins":["https://a.example"]}`).text("token")).with("Origin", "https://b.example")
	_, stream, _ := strings.Cut(page.ok(200, "GET", path, "").text("streamUrl"), base)
	stream = base + stream
	_, key, _ := strings.Cut(stream, "?")
	elsewhere := base + "/conversations/" + site.ok(201, "POST", base+"/conversations", "").text("conversationId")
	gone := base + "/conversations/local-000000000000000000000000"
	message := `{"type":"message","text":"x"}`
	for _, x := range []struct {
		who                *caller
		status             int
		method, path, body string
	}{
		{node, 401, "POST", base + "/tokens/generate", ""},
		{page, 403, "POST", base + "/tokens/generate", ""},
		{node, 401, "POST", base + "/tokens/refresh", ""},
		{site, 403, "POST", base + "/tokens/refresh", ""},
		{node, 401, "POST", base + "/conversations", ""},
		{node, 401, "GET", path, ""},
		{other, 403, "GET", path, ""},
		{site, 404, "GET", gone, ""},
		{node, 401, "GET", path + "/activities", ""},
		{other, 403, "GET", path + "/activities", ""},
		{site, 404, "GET", gone + "/activities", ""},
		{node, 401, "POST", path + "/activities", message},
		{other, 403, "POST", path + "/activities", message},
		{site, 404, "POST", gone + "/activities", message},
		{node, 401, "GET", path + "/stream", ""},
		{site, 404, "GET", base + "/conversations/nope/stream", ""},
		{node, 426, "GET", stream, ""},
		{node, 403, "GET", elsewhere + "/stream?" + key, ""},
		{fussy, 403, "POST", base + "/conversations", ""},
		{fussy, 403, "GET", base + "/session/getsessionid", ""},
		{node, 401, "GET", base + "/session/getsessionid", ""},
		{node, 404, "GET", base + "/attachments/nope/nope/nope", ""},
	} {
		x.who.ok(x.status, x.method, x.path, x.body)
	}
	site.bad(400, "POST", base+"/tokens/generate", `{"user":5}`)
	page.bad(400, "POST", base+"/conversations", `{"user":5}`)
	page.bad(400, "GET", path+"?watermark=x", "")
	node.bad(400, "GET", strings.Replace(stream, "watermark=", "watermark=x", 1), "")
	page.bad(400, "GET", path+"/activities?watermark=x", "")
	page.bad(400, "POST", path+"/activities", `{"text":"no type"}`)
	large := strings.Repeat("x", 300_000)
	site.ok(413, "POST", base+"/tokens/generate", `{"more":"`+large+`"}`)
	page.ok(413, "POST", base+"/conversations", `{"more":"`+large+`"}`)
	page.ok(413, "POST", path+"/activities", `{"type":"message","text":"`+large+`"}`)
	text := func(c *caller) *caller { return c.with("Content-Type", "text/plain") }
	text(page).bad(400, "POST", path+"/upload", "")
	text(node).ok(401, "POST", path+"/upload", "x")
	text(other).ok(403, "POST", path+"/upload", "x")
	text(site).ok(404, "POST", gone+"/upload", "x")
	text(page).ok(413, "POST", path+"/upload", strings.Repeat("x", 4<<20+1))
}
