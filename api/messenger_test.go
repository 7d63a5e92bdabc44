package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

const metaSecret = "a-secret-of-one-app"

// messenger is Meta, right and wrong.
func messenger(t *testing.T, node *caller) {
	t.Helper()
	const path = "/channels/messenger/shop"
	asked := "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
	if a := node.ok(200, "GET", path+asked+metaSecret, ""); a.body != "1158201444" {
		t.Errorf("the challenge came back as %q", a.body)
	}
	node.ok(403, "GET", path+asked+"guess", "")
	node.ok(404, "GET", "/channels/messenger/nobody"+asked+metaSecret, "")
	send := func(status int, at, body string) {
		m := hmac.New(sha256.New, []byte(metaSecret))
		m.Write([]byte(body))
		node.with("Content-Type", "application/json").with("X-Hub-Signature-256", "sha256="+hex.EncodeToString(m.Sum(nil))).ok(status, "POST", at, body)
	}
	send(200, path, `{"object":"page","entry":[{"id":"1","messaging":[{"sender":{"id":"7"},"recipient":{"id":"1"},"timestamp":1,"message":{"mid":"m_1","text":"Hello"}}]}]}`)
	send(400, path, `{"object":"instagram"}`)
	send(404, "/channels/messenger/nobody", `{"object":"page"}`)
	send(413, path, `{"object":"page","x":"`+strings.Repeat("x", 5<<20)+`"}`)
	node.with("Content-Type", "application/json").ok(401, "POST", path, `{"object":"page"}`)
}
