//go:build !windows

package process_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/scale/process"
)

// The test's own binary is the server.
func TestMain(m *testing.M) {
	if how, ok := os.LookupEnv("PARLEY_TEST_SERVER"); ok {
		os.Exit(serve(how, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func serve(how string, args []string) int {
	switch how {
	case "fails":
		fmt.Println("loading")
		fmt.Fprintln(os.Stderr, "error: no such model")
		fmt.Println("bye " + strings.Repeat("x", 10_000))
		return 3
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "parent":
		child := exec.Command("sleep", "60")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			return 4
		}
		fmt.Println("child", child.Process.Pid)
	}
	fmt.Println("listening")
	return exit(http.ListenAndServe("127.0.0.1:"+args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "here")
	})))
}

func exit(error) int { return 1 }

func start(t *testing.T, how string, grace time.Duration) *process.Process {
	t.Helper()
	t.Setenv("PARLEY_TEST_SERVER", how)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Options{Command: []string{self, process.Port}, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func answers(t *testing.T, p *process.Process) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", p.Port()))
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not answer: %v", err)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestServesAndEnds(t *testing.T) {
	p := start(t, "", 0)
	answers(t, p)
	began := time.Now()
	p.Stop()
	p.Stop() // once more is nothing
	if alive(p.Pid()) || time.Since(began) > 5*time.Second {
		t.Errorf("alive: %v, after %v", alive(p.Pid()), time.Since(began))
	}
	if _, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", p.Port()), time.Second); err == nil {
		t.Error("its port still answers")
	}
}

func TestTwoHaveTwoPorts(t *testing.T) {
	a, b := start(t, "", 0), start(t, "", 0)
	answers(t, a)
	answers(t, b)
	if a.Port() == b.Port() {
		t.Errorf("both have the port %d", a.Port())
	}
}

func TestIsMadeToEnd(t *testing.T) {
	p := start(t, "stubborn", 300*time.Millisecond)
	answers(t, p)
	began := time.Now()
	p.Stop()
	if took := time.Since(began); alive(p.Pid()) || took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("alive: %v, after %v", alive(p.Pid()), took)
	}
}

func TestSaysWhyItEnded(t *testing.T) {
	p := start(t, "fails", 0)
	select {
	case <-p.Gone():
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	if why := p.Why(); !strings.Contains(why, "status 3") || !strings.Contains(why, "no such model") || len(why) > 1000 {
		t.Errorf("%.2000s", why)
	}
}

// What the server has started ends with it.
func TestTheWholeGroupEnds(t *testing.T) {
	p := start(t, "parent", 0)
	answers(t, p)
	kids, err := exec.Command("pgrep", "-P", fmt.Sprint(p.Pid())).Output()
	if err != nil {
		t.Skipf("missing: pgrep, to find what it has started (%v)", err)
	}
	var kid int
	if _, err := fmt.Sscan(string(kids), &kid); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	for deadline := time.Now().Add(5 * time.Second); alive(kid); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what it has started goes on")
		}
	}
}

func TestBadCommands(t *testing.T) {
	for _, command := range [][]string{nil, {""}, {"/no/such/program"}} {
		if _, err := process.Start(process.Options{Command: command}); err == nil {
			t.Errorf("%q is started", command)
		}
	}
}
