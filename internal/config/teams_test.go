package config

import (
	"strings"
	"testing"
)

func TestTeams(t *testing.T) {
	c, err := load(t, `
bots: [{id: helper}]
channels:
  teams:
    - {name: desk, app_id: a-1, tenant: t-1, secret: "hush~hush", bot: helper, tenants: [t-1, t-2]}
    - {name: gov, app_id: a-2, certificate: gov.pem, cloud: usgov}
    - {name: cn, app_id: a-3, secret: hushhush, cloud: china, services: ["https://teams.example.cn"]}
`, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if x := c.Teams[0]; x.Cloud != CloudPublic || x.Secret.Reveal() != "hush~hush" || len(x.Tenants) != 2 {
		t.Errorf("%+v", x)
	}
	if x := c.Teams[1]; !strings.HasSuffix(x.Certificate, "/gov.pem") || x.Cloud != CloudGovernment {
		t.Errorf("%+v", x)
	}
	for file, want := range map[string]string{
		"{name: a, app_id: b}": "without a secret or a certificate",
		"{name: a, app_id: b, secret: hush, certificate: c.pem}":                 "a secret and a certificate",
		"{name: a, app_id: b, secret: hush, cloud: china}":                       "no addresses of Teams in China",
		"{name: a, app_id: b, secret: hush, bot: nobody}":                        `no bot with the id "nobody"`,
		"{name: a, app_id: b, secret: hush}, {name: a, app_id: c, secret: hush}": "name of another account",
		"{name: a, secret: hush}":                                                "app_id",
		"{name: a, app_id: b, secret: env:NOWHERE}":                              "NOWHERE is not set",
		"{name: a, app_id: b, secret: hush, services: [https://h/path]}":         "is not an origin",
		"{name: a, app_id: b, secret: hush, cloud: moon}":                        "public",
	} {
		_, err := load(t, "channels: {teams: ["+file+"]}", nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "parley.yaml:") != 1 || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
