package config

import (
	"strings"
	"testing"
)

func TestMessenger(t *testing.T) {
	entry := func(name, page string) string {
		return "    - {name: " + name + ", page: \"" + page + "\", token: env:T, app_secret: env:S, verify_token: env:V}\n"
	}
	const head = "engine: demo\nchannels:\n  messenger:\n"
	env := []string{"T=page-token-hush", "S=app-secret-hush", "V=verify-hush"}
	c, err := load(t, head+entry("shop", "1")+entry("other", "2"), env, nil)
	if err != nil || len(c.Messenger) != 2 || c.Messenger[0].Token.Reveal() != "page-token-hush" || c.Messenger[1].AppSecret.Reveal() != "app-secret-hush" || c.Messenger[1].VerifyToken.Reveal() != "verify-hush" {
		t.Fatalf("%+v %v", c.Messenger, err)
	}
	var out strings.Builder
	if err := c.Print(&out); err != nil || strings.Contains(out.String(), "hush") {
		t.Errorf("%v: a secret is printed:\n%s", err, out.String())
	}
	for what, c := range map[string]struct{ text, want string }{
		"a name twice":   {entry("shop", "1") + entry("shop", "2"), "messenger[1].name"},
		"a page twice":   {entry("shop", "1") + entry("b", "1"), "messenger[1].page"},
		"an odd page":    {entry("shop", "my-page"), "a number of 1 to 32 digits"},
		"an odd name":    {entry("a/b", "1"), "messenger[0].name"},
		"no secret":      {"    - {name: shop, page: \"1\", token: env:T, verify_token: env:V}\n", "messenger[0].app_secret: is missing"},
		"an unknown bot": {strings.Replace(entry("shop", "1"), "name:", "bot: nobody, name:", 1), "there is no bot"},
		"an odd graph":   {strings.Replace(entry("shop", "1"), "name:", "graph: graph.facebook.com, name:", 1), "messenger[0].graph"},
	} {
		if _, err := load(t, head+c.text, env, nil); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
