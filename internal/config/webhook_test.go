package config

import (
	"strings"
	"testing"
)

func TestWebhooks(t *testing.T) {
	const good = "whsec_YS1zZWNyZXQtb2YtZW5vdWdoLWxlbmd0aA=="
	for text, wants := range map[string]string{
		"{name: a, url: https://x.example/, secret: " + good + "}":                                                                              "",
		"{name: a, url: http://127.0.0.1/, private: true, pace: 1s, secret: " + good + "}":                                                      "",
		"{name: a, url: http://x.example/, secret: " + good + "}":                                                                               "private must be true",
		"{name: a, url: https://x.example/, secret: something-else}":                                                                            "whsec_",
		"{name: a, url: https://x.example/, bot: nobody, secret: " + good + "}":                                                                 `no bot with the id "nobody"`,
		"{name: a, url: https://x.example/, secret: " + good + "}, {name: a, url: https://y.example/, secret: " + good + "}":                    "another webhook too",
		"{name: a, url: https://x.example/, secret: " + good + "}, {name: b, url: https://y.example/, previous: old-one, secret: " + good + "}": "whsec_",
		"{name: a, url: https://x.example/}":                                                                                                    "secret",
	} {
		_, err := Parse("parley.yaml", []byte("channels: {webhook: ["+text+"]}"), home)
		switch {
		case wants == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case wants != "" && (err == nil || !strings.Contains(err.Error(), wants)):
			t.Errorf("%s: %v, want %q", text, err, wants)
		case err != nil && strings.Contains(err.Error(), "YS1zZWNyZXQ"):
			t.Errorf("the error has the secret in it: %v", err)
		}
	}
}
