package outgoing

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The certificate is found wherever it stands in its file.
func TestTrusting(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("test-key")}))
	file := filepath.Join(t.TempDir(), "cert.pem")
	for _, text := range []string{cert, key + cert, "# both\n" + key + "\n" + cert + key} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Trusting(file)
		if err != nil {
			t.Errorf("Trusting(%q) = %v", text, err)
			continue
		}
		res, err := c.Get(server.URL)
		if err != nil {
			t.Errorf("call with %q = %v", text, err)
			continue
		}
		_ = res.Body.Close()
	}
	for _, text := range []string{"", key, "rubbish"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Trusting(file); err == nil || !strings.Contains(err.Error(), file+" holds none") {
			t.Errorf("Trusting(%q) = %v, want that it holds none", text, err)
		}
	}
}

func TestHere(t *testing.T) {
	for url, want := range map[string]bool{
		"https://127.0.0.1:1": true, "https://[::1]:1": true, "http://localhost": true,
		"https://hooks.example.com": false, "https://192.0.2.1": false, "https://127.0.0.1.example.com": false, "::": false,
	} {
		if got := Here(url); got != want {
			t.Errorf("Here(%s) = %v, want %v", url, got, want)
		}
	}
}
