package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/secret"
)

func TestKafka(t *testing.T) {
	c, err := config.Parse("p.yaml", []byte(`kafka:
  - {name: night, brokers: ["k1.example.org:9092", "k2.example.org:9092"], intake: in, outlet: out, tls: true, sasl: PLAIN, user: me, password: secret-of-mine, tenant: shop}
  - {name: here, brokers: ["127.0.0.1:9092"], intake: a.b_c-d, outlet: out, parallel: 4, sasl: PLAIN, user: me, password: x}
budgets:
  - {name: shop, for: tenant, who: shop, day: {requests: 5}}
`), []string{"HOME=/home/x"})
	if err != nil {
		t.Fatal(err)
	}
	k := c.Kafka[0]
	if k.Password.Reveal() != "secret-of-mine" {
		t.Error("the password is another one")
	}
	got := config.Kafka{Name: k.Name, Brokers: k.Brokers, Intake: k.Intake, Outlet: k.Outlet, TLS: k.TLS, Mechanism: k.Mechanism, User: k.User, Tenant: k.Tenant}
	want := config.Kafka{Name: "night", Brokers: []string{"k1.example.org:9092", "k2.example.org:9092"}, Intake: "in", Outlet: "out", TLS: true, Mechanism: "PLAIN", User: "me", Tenant: "shop"}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(secret.String{})); d != "" {
		t.Error(d)
	}
}

func TestWrongKafka(t *testing.T) {
	refused(t, map[string][]string{
		"kafka: [{name: a}]": {"brokers: is missing", "intake: is missing", "outlet: is missing"},
		"kafka: [{name: a, brokers: [k], intake: x, outlet: y}]":                                                                                               {"host:port"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x y, outlet: y}]":                                                                                         {"1 to 249"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: x}]":                                                                                           {"taken in as requests"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: y, ca: /ca.pem}]":                                                                              {"without TLS"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: y, user: me}]":                                                                                 {"go together"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: y, sasl: PLAIN, user: me, password: pw}]":                                                      {"as it is"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: y, sasl: GSSAPI, user: me, password: pw}]":                                                     {"is not one of the words"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: y, parallel: 0}]":                                                                              {"out of bounds"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: y}, {name: a, brokers: ['k:1'], intake: z, outlet: y}]":                                        {"name of another"},
		"kafka: [{name: a, brokers: ['k:1'], intake: x, outlet: y, group: g}, {name: b, brokers: ['k:1'], intake: z, outlet: y, group: g}]\nlisten: 0.0.0.0:1": {"takes from another topic", "key"},
	})
}
