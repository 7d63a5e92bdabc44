package eventlog

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestBusyIsNotIll asks a server for its health that has not had a moment to
// begin, as on a busy machine: the log must not be started again for that. It
// fails when an upgrade of the server says it in other words.
func TestBusyIsNotIll(t *testing.T) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if h := s.Healthz(nil); h.Error == "" || !onlyBusy(h) {
		t.Errorf("the server says %q", h.Error)
	}
	if onlyBusy(&server.HealthStatus{Error: "JetStream stream 'local > CONV_local_0' is not current: write error"}) {
		t.Error("a log that can't write is taken for a busy one")
	}
}
