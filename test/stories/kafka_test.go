//go:build linux

package stories

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// broker is a real one, of the published jars. It listens in the open, and
// another way by TLS for who says who he is.
type broker struct {
	lib, dir, addr string
	secure, ca     string // the other address, and who signed its certificate
	said           *words
}

// The user of the second way, for either mechanism.
const brokerUser, brokerPassword = "parley", "a word for the broker"

// newBroker starts one; without its parts the story is skipped.
func newBroker(t *testing.T) *broker {
	t.Helper()
	lib := os.Getenv("PARLEY_KAFKA_LIB")
	if lib == "" {
		t.Skip("missing: Kafka; fetch it with mvn -f test/stories/kafka dependency:copy-dependencies -DoutputDirectory=DIR and set PARLEY_KAFKA_LIB=DIR")
	}
	b := &broker{lib: lib, dir: t.TempDir(), addr: freeAddr(t), secure: freeAddr(t), said: &words{}}
	control := freeAddr(t)
	keys := b.certificate(t)
	properties := filepath.Join(b.dir, "server.properties")
	cfg := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s,SECURE://%[4]s
advertised.listeners=PLAINTEXT://%[1]s,SECURE://%[4]s
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location=%[5]s
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%[6]s="%[7]s";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs=%[3]s
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
`, b.addr, control, filepath.Join(b.dir, "log"), b.secure, keys, brokerUser, brokerPassword)
	if err := os.WriteFile(properties, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	scram := fmt.Sprintf("=[name=%s,password=%s]", brokerUser, brokerPassword)
	b.run(t, nil, "kafka.tools.StorageTool", "format", "-t", "JmY5bWFkZS1ieS1wYXJsZXk", "-c", properties,
		"--add-scram", "SCRAM-SHA-256"+scram, "--add-scram", "SCRAM-SHA-512"+scram)
	cmd := b.java(context.Background(), "kafka.Kafka", properties)
	cmd.Stdout, cmd.Stderr = b.said, b.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the broker's last words:\n%s", tail(b.said.String(), 8<<10))
		}
	})
	until(t, "the broker listens", startTime, func() bool {
		c, err := net.DialTimeout("tcp", b.addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	for _, topic := range []string{"requests", "answers"} {
		b.run(t, nil, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", b.addr, "--create", "--topic", topic, "--partitions", "8")
	}
	return b
}

// certificate makes one for the secure way, and returns the file of it and its
// key.
func (b *broker) certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b.ca = filepath.Join(b.dir, "ca.pem")
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), public...)
	keys := filepath.Join(b.dir, "broker.pem")
	for file, text := range map[string][]byte{b.ca: public, keys: both} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// ways are how a node may reach the broker, as the configuration says it.
func (b *broker) ways() []string {
	secure := fmt.Sprintf("brokers: [%q], tls: true, ca: %q, user: %s, password: %q", b.secure, b.ca, brokerUser, brokerPassword)
	return []string{
		fmt.Sprintf("brokers: [%q]", b.addr),
		secure + ", sasl: PLAIN",
		secure + ", sasl: SCRAM-SHA-256",
		secure + ", sasl: SCRAM-SHA-512",
	}
}

func (b *broker) java(ctx context.Context, class string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "java", append([]string{"-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(b.lib, "*"), class}, args...)...)
}

// run is one of Kafka's own tools.
func (b *broker) run(t *testing.T, in []byte, class string, args ...string) string {
	t.Helper()
	out, err := b.try(t, in, class, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", class, err, tail(out, 4000))
	}
	return out
}

// try is run for what may fail; it tells the errors too then.
func (b *broker) try(t *testing.T, in []byte, class string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	cmd := b.java(ctx, class, args...)
	cmd.Stdin = bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

// takers counts the members of the nodes' group that have a part of the intake.
func (b *broker) takers(t *testing.T) int {
	t.Helper()
	out, err := b.try(t, nil, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", b.addr, "--describe", "--members", "--group", "parley-night")
	if err != nil {
		return 0 // nobody has come yet
	}
	return len(regexp.MustCompile(`(?m)^parley-night .* [1-9]\d* *$`).FindAllString(out, -1))
}

// send puts lines into the intake by Kafka's console producer, each with its
// number as key, so that they spread over the partitions.
func (b *broker) send(t *testing.T, lines []byte) {
	t.Helper()
	var keyed bytes.Buffer
	n := 0
	for line := range bytes.Lines(lines) {
		fmt.Fprintf(&keyed, "key-%d\t%s", n, line)
		n++
	}
	b.run(t, keyed.Bytes(), "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", b.addr, "--topic", "requests", "--property", "parse.key=true")
}

// committed are the answers that Kafka's console consumer reads of those that
// are committed, until none has come for a while.
func (b *broker) committed(t *testing.T, quiet time.Duration) []string {
	t.Helper()
	out := b.run(t, nil, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", b.addr, "--topic", "answers",
		"--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", fmt.Sprint(quiet.Milliseconds()))
	return strings.Split(strings.TrimSpace(out), "\n")
}

// Requests come from a topic of a real broker while its nodes, each of which
// reaches it another way, take turns in being killed: each request has one
// answer in the other topic, by what Kafka's own consumer reads.
func TestRequestsFromKafka(t *testing.T) {
	b := newBroker(t)
	_, engines := simulatedEngines(t, 2)
	var nodes []*node
	for i, way := range b.ways() {
		cfg := filepath.Join(t.TempDir(), "parley.yaml")
		text := engines + fmt.Sprintf("kafka: [{name: night, intake: requests, outlet: answers, parallel: 8, %s}]\n", way)
		if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n := newNode(t, fmt.Sprintf("PARLEY_NODE=n%d", i))
		n.args = []string{"serve", "-c", cfg}
		n.start()
		nodes = append(nodes, n)
	}
	until(t, "each has a part of the intake", startTime, func() bool { return b.takers(t) == len(nodes) })
	const lines = 400
	b.send(t, append(batchOf(lines), []byte("no JSON\n{\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":[]}}\n")...))
	for i, n := range nodes {
		until(t, fmt.Sprintf("node %d, with %s, has answered", i, b.ways()[i]), startTime, func() bool {
			answered, _ := metric(t, n.url, `parley_kafka_records_total{kafka="night",outcome="answered",region="local"}`)
			return answered > 0
		})
	}
	for i := range kills(t, 4) {
		wait(2 * time.Second)
		n := nodes[i%len(nodes)]
		n.kill()
		n.start()
	}
	times := map[string]int{}
	bad := 0
	var got []string
	// The partitions of a dead node go to others when its session is over.
	for deadline := time.Now().Add(3 * time.Minute); ; {
		if got = b.committed(t, 5*time.Second); len(got) >= lines+2 || time.Now().After(deadline) {
			break
		}
	}
	for _, line := range got {
		var x struct {
			ID       string
			Custom   string `json:"custom_id"`
			Response *struct {
				Status int `json:"status_code"`
				Body   struct {
					Choices []struct{ Message struct{ Content string } }
				}
			}
			Error *struct{ Code string }
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		switch {
		case x.Error != nil && x.Error.Code == "invalid_json_line":
			bad++
		case x.Response == nil || x.Response.Status != 200 || len(x.Response.Body.Choices) != 1 || strings.TrimSpace(x.Response.Body.Choices[0].Message.Content) != storyText():
			t.Errorf("an answer: %s", line)
		default:
			times[x.Custom]++
		}
	}
	if bad != 1 {
		t.Errorf("%d answers say that a request is no JSON, want 1", bad)
	}
	for i := range lines {
		if c := fmt.Sprintf("line-%d", i); times[c] != 1 {
			t.Errorf("%s has %d answers", c, times[c])
		}
	}
	if short := times[fmt.Sprintf("key-%d", lines+1)]; short != 1 || len(got) != lines+2 {
		t.Errorf("%d answers, want %d; the request without method and custom_id has %d", len(got), lines+2, short)
	}
}
