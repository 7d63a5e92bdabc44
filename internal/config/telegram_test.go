package config

import (
	"strings"
	"testing"
)

func TestTelegram(t *testing.T) {
	entry := func(name, token string) string {
		return "    - {name: " + name + ", token: env:" + token + ", secret: env:S}\n"
	}
	const head = "engine: demo\nchannels:\n  telegram:\n"
	env := []string{"T=123456:token-hush-token-hush", "U=654321:other-hush-other-hush", "S=secret-hush-0123456789", "V=odd hush", "W=123456"}
	c, err := load(t, head+entry("shop", "T")+entry("other", "U"), env, nil)
	if err != nil || len(c.Telegram) != 2 || c.Telegram[0].Token.Reveal() != "123456:token-hush-token-hush" || c.Telegram[1].Secret.Reveal() != "secret-hush-0123456789" {
		t.Fatalf("%+v %v", c.Telegram, err)
	}
	var out strings.Builder
	if err := c.Print(&out); err != nil || strings.Contains(out.String(), "hush") {
		t.Errorf("%v: a secret is printed:\n%s", err, out.String())
	}
	for what, c := range map[string]struct{ text, want string }{
		"a name twice":   {entry("shop", "T") + entry("shop", "U"), "telegram[1].name"},
		"a bot twice":    {entry("shop", "T") + entry("b", "T"), "telegram[1].token"},
		"an odd token":   {entry("shop", "W"), "telegram[0].token"},
		"an odd secret":  {strings.Replace(entry("shop", "T"), "env:S", "env:V", 1), "telegram[0].secret"},
		"an odd name":    {entry("a/b", "T"), "telegram[0].name"},
		"no token":       {"    - {name: shop}\n", "telegram[0].token: is missing"},
		"an unknown bot": {strings.Replace(entry("shop", "T"), "name:", "bot: nobody, name:", 1), "there is no bot"},
		"an odd address": {strings.Replace(entry("shop", "T"), "name:", "api: api.telegram.org, name:", 1), "telegram[0].api"},
	} {
		if _, err := load(t, head+c.text, env, nil); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
