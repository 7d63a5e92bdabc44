package api_test

import (
	"strings"
	"testing"
	"time"
)

// formType is the type of what form makes.
const formType = "multipart/form-data; boundary=x-x-x"

func form(purpose, file string) string {
	return strings.ReplaceAll("--x-x-x\nContent-Disposition: form-data; name=\"purpose\"\n\n"+purpose+
		"\n--x-x-x\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\nContent-Type: application/octet-stream\n\n", "\n", "\r\n") +
		file + "\r\n--x-x-x--\r\n"
}

// request is a line of a batch's input.
func request(id, url, text string) string {
	return `{"custom_id":"` + id + `","method":"POST","url":"` + url + `","body":{"model":"mock/one","messages":[{"role":"user","content":"` + text + `"}]}}` + "\n"
}

func order(file string) string {
	return `{"input_file_id":"` + file + `","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"for":"a test"}}`
}

// aBatch makes one, and tells its input and itself.
func aBatch(c *caller) (file, id string) {
	file = c.with("Content-Type", formType).ok(200, "POST", "/v1/files", form("batch", request("a", "/v1/chat/completions", "x"))).text("id")
	return file, c.ok(200, "POST", "/v1/batches", order(file)).text("id")
}

// over waits until a batch has ended.
func over(t *testing.T, c *caller, id string) answer {
	t.Helper()
	for range 400 {
		b := c.ok(200, "GET", "/v1/batches/"+id, "")
		switch b.text("status") {
		case "completed", "failed", "expired", "cancelled":
			return b
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatalf("the batch %s does not end: %s", id, c.ok(200, "GET", "/v1/batches/"+id, "").body)
	return answer{}
}

func batches(t *testing.T, c *caller) {
	t.Helper()
	const chat = "/v1/chat/completions"
	up := c.with("Content-Type", formType)
	made := up.ok(200, "POST", "/v1/files", form("batch", request("one", chat, "Hello")+request("two", chat, "please 400")))
	file := made.text("id")
	again := up.with("Idempotency-Key", "same")
	if a, b := again.ok(200, "POST", "/v1/files", form("batch", "x\n")).text("id"), again.ok(200, "POST", "/v1/files", form("batch", "x\n")).text("id"); a != b {
		t.Errorf("the same file with the same key was kept as %s and %s", a, b)
	}
	if got := c.ok(200, "GET", "/v1/files/"+file, "").body; got != made.body {
		t.Errorf("a file: %s, made %s", got, made.body)
	}
	c.ok(200, "GET", "/v1/files?limit=1&order=asc&purpose=batch", "")
	once := c.with("Idempotency-Key", "once")
	id := once.ok(200, "POST", "/v1/batches", order(file)).text("id")
	if other := once.ok(200, "POST", "/v1/batches", order(file)).text("id"); other != id {
		t.Errorf("the same order with the same key is two batches: %s and %s", id, other)
	}
	done := over(t, c, id)
	if done.text("status") != "completed" || done.get("request_counts.completed") != 1.0 || done.get("request_counts.failed") != 1.0 || done.text("metadata.for") != "a test" {
		t.Errorf("a batch of a good and a bad line: %s", done.body)
	}
	if out := c.ok(200, "GET", "/v1/files/"+done.text("output_file_id")+"/content", "").body; strings.Count(out, "\n") != 1 || !strings.Contains(out, `"custom_id":"one"`) || !strings.Contains(out, "Well then.") {
		t.Errorf("output: %s", out)
	}
	if out := c.ok(200, "GET", "/v1/files/"+done.text("error_file_id")+"/content", "").body; strings.Count(out, "\n") != 1 || !strings.Contains(out, `"custom_id":"two"`) || !strings.Contains(out, `"status_code":400`) {
		t.Errorf("errors: %s", out)
	}
	c.ok(200, "GET", "/v1/batches?limit=1", "")
	c.ok(409, "POST", "/v1/batches/"+id+"/cancel", "")

	slow := up.ok(200, "POST", "/v1/files", form("batch", strings.ReplaceAll(request("slow", chat, "Tell me a lot"), "mock/one", "mock/endless"))).text("id")
	long := c.ok(200, "POST", "/v1/batches", order(slow)).text("id")
	c.ok(409, "DELETE", "/v1/files/"+slow, "")
	c.ok(200, "POST", "/v1/batches/"+long+"/cancel", "")
	if b := over(t, c, long); b.text("status") != "cancelled" {
		t.Errorf("a batch that was cancelled: %s", b.body)
	}
	c.ok(200, "DELETE", "/v1/files/"+slow, "")
	for _, x := range []struct{ method, path string }{
		{"GET", "/v1/files/" + slow},
		{"GET", "/v1/files/" + slow + "/content"},
		{"DELETE", "/v1/files/" + slow},
		{"GET", "/v1/files/none"},
		{"GET", "/v1/files/file-none/content"},
		{"DELETE", "/v1/files/file-*"},
		{"GET", "/v1/batches/none"},
		{"POST", "/v1/batches/batch_none/cancel"},
	} {
		c.ok(404, x.method, x.path, "")
	}
	c.ok(404, "POST", "/v1/batches", order(slow))

	broken := up.ok(200, "POST", "/v1/files", form("batch", request("a", chat, "x")+"{broken\n"+request("a", chat, "x")+request("c", "/v1/embeddings", "x")+"\n[]\n")).text("id")
	failed := over(t, c, c.ok(200, "POST", "/v1/batches", order(broken)).text("id"))
	if failed.text("status") != "failed" || failed.get("request_counts.completed") != 0.0 {
		t.Errorf("a batch with broken lines: %s", failed.body)
	}
	for i, line := range []float64{2, 3, 4, 6} {
		if got := failed.get("errors.data." + string(rune('0'+i)) + ".line"); got != line {
			t.Errorf("problem %d is at line %v, want %v: %s", i, got, line, failed.body)
		}
	}
	c.ok(200, "GET", "/v1/files/"+failed.text("error_file_id")+"/content", "")

	c.bad(400, "GET", "/v1/files?limit=0", "")
	c.bad(400, "GET", "/v1/files?order=up", "")
	c.ok(400, "GET", "/v1/files?after=nobody", "")
	c.bad(400, "GET", "/v1/batches?limit=101", "")
	up.bad(400, "POST", "/v1/files", form("fine-tune", "x"))
	up.ok(400, "POST", "/v1/files", form("batch", ""))
	up.bad(400, "POST", "/v1/files", "--x-x-x")
	c.bad(400, "POST", "/v1/files", `{}`)
	up.ok(413, "POST", "/v1/files", form("batch", strings.Repeat("x", 65<<20)))
	for _, body := range []string{`{}`, `{"input_file_id":"` + file + `","endpoint":"/v1/images","completion_window":"24h"}`, `{"input_file_id":"` + file + `","endpoint":"/v1/embeddings","completion_window":"soon"}`} {
		c.bad(400, "POST", "/v1/batches", body)
	}
	c.ok(400, "POST", "/v1/batches", `{"input_file_id":"`+done.text("output_file_id")+`","endpoint":"/v1/embeddings","completion_window":"24h"}`)
	c.ok(413, "POST", "/v1/batches", `{"input_file_id":"`+strings.Repeat("x", 70_000)+`","endpoint":"/v1/embeddings","completion_window":"24h"}`)
}
