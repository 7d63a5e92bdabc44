package api_test

import (
	"strings"
	"testing"
)

const hookSecret = "a-secret-of-one-bot-in-telegram"

// telegram is Telegram, right and wrong.
func telegram(t *testing.T, node *caller) {
	t.Helper()
	const path = "/channels/telegram/shop"
	send := func(status int, at, secret, body string) {
		node.with("Content-Type", "application/json").with("X-Telegram-Bot-Api-Secret-Token", secret).ok(status, "POST", at, body)
	}
	send(200, path, hookSecret, `{"update_id":7,"message":{"message_id":1,"date":1,"from":{"id":7,"is_bot":false,"first_name":"Ann"},"chat":{"id":7,"type":"private"},"text":"Hello"}}`)
	send(400, path, hookSecret, `{"message":{}}`)
	send(401, path, "guess", `{"update_id":7}`)
	send(404, "/channels/telegram/nobody", hookSecret, `{"update_id":7}`)
	send(413, path, hookSecret, `{"update_id":7,"x":"`+strings.Repeat("x", 2<<20)+`"}`)
}
