package config

import (
	"strings"
	"testing"
)

func TestSlack(t *testing.T) {
	c, err := load(t, `
bots: [{id: helper}]
channels:
  slack_api: http://127.0.0.1:9/api/
  slack:
    - {name: desk, team: T0A, signing_secret: hush-sign, token: xoxb-hush, bot: helper}
    - {name: other, team: T0B, signing_secret: hush-sign, token: xoxb-hush}
`, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if x := c.Slack[0]; x.Team != "T0A" || x.Signing.Reveal() != "hush-sign" || x.Token.Reveal() != "xoxb-hush" || x.Bot != "helper" || c.SlackAPI != "http://127.0.0.1:9/api/" {
		t.Errorf("%+v", x)
	}
	const good = "signing_secret: hush, token: xoxb-hush"
	for file, want := range map[string]string{
		"{name: a, " + good + "}":                                                "team",
		"{name: a, team: acme, " + good + "}":                                    "the id of a workspace",
		"{name: a, team: T0A, token: xoxb-hush}":                                 "signing_secret",
		"{name: a, team: T0A, signing_secret: hush}":                             "token",
		"{name: a, team: T0A, signing_secret: hush, token: xoxp-hush}":           "no bot's token",
		"{name: a, team: T0A, signing_secret: hush, token: env:NOWHERE}":         "NOWHERE is not set",
		"{name: a, team: T0A, bot: nobody, " + good + "}":                        `no bot with the id "nobody"`,
		"{name: a, team: T0A, " + good + "}, {name: a, team: T0B, " + good + "}": "name of another account",
	} {
		_, err := load(t, "channels: {slack: ["+file+"]}", nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "parley.yaml:") != 1 || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
