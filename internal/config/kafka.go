package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/parleyhq/parley/internal/secret"
)

// Kafka is a topic with requests and another one for their answers.
type Kafka struct {
	Name      string
	Brokers   []string // host:port
	Intake    string
	Outlet    string
	Group     string // of consumers; "" = parley-NAME
	Parallel  int    // requests at once; 0 = 32
	Tenant    string // whom they are charged to
	TLS       bool
	CA        string // of the brokers, as a PEM file; "" = the system's
	Mechanism string // of SASL; "" = none
	User      string
	Password  secret.String
}

var topicForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

func checkBroker(v string) error {
	if host, port, err := net.SplitHostPort(v); err != nil || host == "" || port == "" {
		return errors.New("it must be host:port")
	}
	return nil
}

func kafkaSettings() []row[Kafka] {
	return []row[Kafka]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name in metrics. Its requests are the user's kafka-NAME, for budgets and usage."},
			func(k *Kafka) *string { return &k.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		texts(Row{Key: "brokers", Required: true, Bounds: "host:port", Doc: "Some of the cluster's brokers; they name the others."},
			func(k *Kafka) *[]string { return &k.Brokers }, 100, 300, checkBroker),
		text(Row{Key: "intake", Required: true, Doc: "Topic that requests come from, a line of a batch's file in each record (docs/batch.md#kafka)."},
			func(k *Kafka) *string { return &k.Intake }, matches(topicForm, "1 to 249 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "outlet", Required: true, Doc: "Topic that their answers go to."},
			func(k *Kafka) *string { return &k.Outlet }, matches(topicForm, "1 to 249 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "group", Doc: "Consumer group that all nodes are in. Without it, parley-NAME."}, func(k *Kafka) *string { return &k.Group }, atMost(249)),
		number(Row{Key: "parallel", Doc: "Requests that a node has under way at once; their answers are put out together. Without it, 32."},
			func(k *Kafka) *int { return &k.Parallel }, 1, 1000),
		text(Row{Key: "tenant", Bounds: "letters, digits, . _ -", Doc: "Whom its requests belong to, for budgets and usage."},
			func(k *Kafka) *string { return &k.Tenant }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		toggle(Row{Key: "tls", Doc: "The brokers speak TLS."}, func(k *Kafka) *bool { return &k.TLS }),
		path(Row{Key: "ca", Doc: "Authorities that sign the brokers' certificates, as a PEM file. Without it, the system's."}, func(k *Kafka) *string { return &k.CA }),
		choice(Row{Key: "sasl", Doc: "How the node shows who it is."}, func(k *Kafka) *string { return &k.Mechanism }, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
		text(Row{Key: "user", Doc: "Its name there."}, func(k *Kafka) *string { return &k.User }, atMost(255)),
		hidden(Row{Key: "password", Doc: "Its password there: env:NAME, file:PATH, or the password itself."},
			func(k *Kafka, s secret.String) { k.Password = s }, func(k *Kafka) bool { return !k.Password.Empty() }),
	}
}

func (l *loader) finishKafka(c *Config) {
	names, groups := map[string]bool{}, map[string]bool{}
	for i, k := range c.Kafka {
		key := fmt.Sprintf("kafka[%d]", i)
		l.at = sourceOf(c, key, "kafka")
		if k.Name != "" && names[k.Name] {
			l.problem(key+".name", "", "%q is the name of another one too", k.Name)
		}
		names[k.Name] = true
		if group := strings.Join(append([]string{k.Group}, k.Brokers...), " "); k.Group != "" && groups[group] {
			l.problem(key+".group", "leave it out", "the group %q takes from another topic already", k.Group)
		} else {
			groups[group] = true
		}
		if k.Intake != "" && k.Intake == k.Outlet {
			l.problem(key+".outlet", "name another topic", "the answers would be taken in as requests")
		}
		if k.CA != "" && !k.TLS {
			l.problem(key+".ca", "set tls: true as well", "it is of no use without TLS")
		}
		if (k.Mechanism == "") != (k.User == "" && k.Password.Empty()) {
			l.problem(key+".sasl", "", "sasl, user and password go together")
		}
		if k.Mechanism == "PLAIN" && !k.TLS && !allLoopback(k.Brokers) {
			l.problem(key+".tls", "set tls: true, or sasl: SCRAM-SHA-512", "PLAIN sends the password as it is: without TLS only to this machine")
		}
	}
}

func allLoopback(addresses []string) bool {
	for _, a := range addresses {
		if !loopback(a) {
			return false
		}
	}
	return true
}
