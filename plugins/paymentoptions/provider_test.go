package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/sdk/sdktest"
)

func TestGoldens(t *testing.T) { sdktest.Run(t, ".") }

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var row = regexp.MustCompile("(?m)^\\| (`[a-z0-9`, ]+`) \\| `payment\\.([a-z]+)` \\| ([a-z]+) \\|$")

// TestOutcome_isTheReadmesTable tries every success that there could be against
// the table that an operator reads.
func TestOutcome_isTheReadmesTable(t *testing.T) {
	want := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(string(read(t, "README.md")), -1) {
		if m[2] != m[3] {
			t.Errorf("the table has the status %s beside payment.%s", m[3], m[2])
		}
		for word := range strings.SplitSeq(m[1], ", ") {
			want[strings.Trim(word, "`")] = m[2]
		}
	}
	if len(want) != 4 {
		t.Fatalf("README.md's table has %d words, want 4", len(want))
	}
	for _, word := range []string{
		"true", "1", "false", "0", "", "True", "FALSE", "yes", "no", "2", "-1", "1.0", "0.0", "01", "success", "null", " true",
	} {
		if got := outcome(word); got != want[word] {
			t.Errorf("outcome(%q) = %q, the table says %q", word, got, want[word])
		}
	}
}

// TestSign lets the plugin sign requests whose signature or token is wrong or
// missing: what comes out is, byte for byte, the request that openssl signed.
func TestSign(t *testing.T) {
	for wrong, right := range map[string]string{
		"hmac-missing":               "hmac",
		"hmac-bad":                   "hmac",
		"hmac-bad-prefix":            "hmac-prefix",
		"hmac-bad-base64":            "hmac-base64",
		"hmac-bad-sha512":            "hmac-sha512",
		"hmac-bad-key-hex":           "hmac-key-hex",
		"gzip-signed-before":         "gzip",
		"transaction-missing":        "transaction",
		"transaction-wrong-mac":      "transaction",
		"transaction-other-key":      "transaction",
		"hmac-and-other-transaction": "hmac-and-transaction",
		"success-true":               "success-true",
	} {
		t.Run(wrong, func(t *testing.T) {
			want := read(t, "testdata/"+right+".http")
			_, body, _ := bytes.Cut(want, []byte("\n\n"))
			if got := sdktest.Sign(t, ".", wrong, body); !bytes.Equal(got, want) {
				t.Errorf("signed:\ngot  %q\nwant %q", got, want)
			}
		})
	}
}

// key is the event's dedup key in a golden, nil where that is the body.
func key(t *testing.T, name string) []string {
	t.Helper()
	var golden struct {
		Expect struct{ Events []struct{ Key []string } }
	}
	if err := json.Unmarshal(read(t, "testdata/"+name+".golden.json"), &golden); err != nil || len(golden.Expect.Events) != 1 {
		t.Fatalf("%s: %d events: %v", name, len(golden.Expect.Events), err)
	}
	return golden.Expect.Events[0].Key
}

// TestKeys_tellRepeatsFromNews: a payment's outcome has one key however it is
// spelled; another outcome or id has another, and a hint none of its own.
func TestKeys_tellRepeatsFromNews(t *testing.T) {
	for _, c := range []struct {
		first string
		again []string
	}{
		{"success-true", []string{
			"success-one", "success-string-true", "success-string-one", "duplicate", "escaped-names", "rotated-old",
			"failed-later-succeeded", "hmac", "hmac-and-transaction", "gzip",
		}},
		// Whoever has the URL of one transaction has one outcome of each kind.
		{"transaction", []string{
			"transaction-rotated", "transaction-other-gateway", "transaction-other-amount", "transaction-no-gateway",
		}},
		{"transaction-failed", []string{"transaction-failed-again"}},
		// What is signed may tell of more than one try.
		{"other-gateway", []string{"hmac-and-transaction-other-gateway"}},
	} {
		first := key(t, c.first)
		for _, again := range c.again {
			if got := key(t, again); !slices.Equal(got, first) {
				t.Errorf("%s has the key %q, want that of %s, %q", again, got, c.first, first)
			}
		}
	}
	seen := make(map[string]string)
	for _, news := range []string{
		"success-true", "failed-false", "other-gateway", "ref-only", "token-only", "ids-numbers",
		"transaction-points", "transaction-failed", "transaction-number",
	} {
		text := strings.Join(key(t, news), "\x00")
		if other := seen[text]; other != "" {
			t.Errorf("%s and %s have one key", news, other)
		}
		seen[text] = news
	}
	for _, hint := range []string{"event-refund", "event-refund-second", "type-refund", "no-ids", "hmac-event", "transaction-event"} {
		if got := key(t, hint); got != nil {
			t.Errorf("%s has the key %q, want that of its body", hint, got)
		}
	}
}

var (
	commands = regexp.MustCompile("(?s)```sh\n(.*?)```")
	target   = regexp.MustCompile(`^POST /in/demo/paymentoptions/(\S+) HTTP`)
)

// TestReadme_makesTheURL runs the commands that make a transaction's URL.
func TestReadme_makesTheURL(t *testing.T) {
	for _, tool := range []string{"sh", "openssl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("the commands need " + tool + ", which is not installed here")
		}
	}
	m := commands.FindSubmatch(read(t, "README.md"))
	if m == nil {
		t.Fatal("README.md has no commands")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", string(m[1]))
	cmd.Env = append(os.Environ(), "PAYMENTOPTIONS_TRANSACTION_KEY=test-transaction-key")
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	segment := target.FindSubmatch(read(t, "testdata/transaction.http"))
	if want := "https://hooks.example.com/in/main/paymentoptions/" + string(segment[1]) + "\n"; string(got) != want {
		t.Errorf("the commands print %swant %s", got, want)
	}
}
