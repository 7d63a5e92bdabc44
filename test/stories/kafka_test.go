//go:build linux

package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// broker is a real one, of the published jars.
type broker struct {
	lib, dir, addr string
	said           *words
}

// newBroker starts one; without its parts the story is skipped.
func newBroker(t *testing.T) *broker {
	t.Helper()
	lib := os.Getenv("PARLEY_KAFKA_LIB")
	if lib == "" {
		t.Skip("missing: Kafka; fetch it with mvn -f test/stories/kafka dependency:copy-dependencies -DoutputDirectory=DIR and set PARLEY_KAFKA_LIB=DIR")
	}
	b := &broker{lib: lib, dir: t.TempDir(), addr: freeAddr(t), said: &words{}}
	control := freeAddr(t)
	properties := filepath.Join(b.dir, "server.properties")
	cfg := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=%[3]s
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
`, b.addr, control, filepath.Join(b.dir, "log"))
	if err := os.WriteFile(properties, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(t, nil, "kafka.tools.StorageTool", "format", "-t", "JmY5bWFkZS1ieS1wYXJsZXk", "-c", properties)
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
		b.run(t, nil, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", b.addr, "--create", "--topic", topic, "--partitions", "3")
	}
	return b
}

func (b *broker) java(ctx context.Context, class string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "java", append([]string{"-Xmx384m", "-cp", filepath.Join(b.lib, "*"), class}, args...)...)
}

// run is one of Kafka's own tools.
func (b *broker) run(t *testing.T, in []byte, class string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	cmd := b.java(ctx, class, args...)
	cmd.Stdin = bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", class, err, tail(out.String()+errs.String(), 4000))
	}
	return out.String()
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

// Requests come from a topic of a real broker while two nodes take turns in
// being killed: each has one answer in the other topic, by what Kafka's own
// consumer reads.
func TestRequestsFromKafka(t *testing.T) {
	b := newBroker(t)
	_, engines := simulatedEngines(t, 2)
	cfg := filepath.Join(t.TempDir(), "parley.yaml")
	text := engines + fmt.Sprintf("kafka: [{name: night, brokers: [%q], intake: requests, outlet: answers, parallel: 8}]\n", b.addr)
	if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var nodes []*node
	for i := range 2 {
		n := newNode(t, fmt.Sprintf("PARLEY_NODE=n%d", i))
		n.args = []string{"serve", "-c", cfg}
		n.start()
		nodes = append(nodes, n)
	}
	const lines = 400
	b.send(t, append(batchOf(lines), []byte("no JSON\n{\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":[]}}\n")...))
	for i := range kills(t, 4) {
		wait(2 * time.Second)
		n := nodes[i%2]
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
