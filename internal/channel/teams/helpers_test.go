package teams

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func record(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func deliverWith(ctx context.Context, ms *microsoft, h http.Handler, in any) *httptest.ResponseRecorder {
	b, err := json.Marshal(in)
	if err != nil {
		ms.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(ctx, "POST", Base+"/shop/messages", bytes.NewReader(b))
	r.Header.Set("Authorization", "Bearer "+ms.sign(nil))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func leafOf(t *testing.T, c tls.Certificate) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
