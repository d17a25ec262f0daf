package main

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postern/postern/host"
)

// cbc is a provider whose callbacks carry a ciphertext of themselves, and how
// to make others of it.
type cbc struct {
	*provider

	place  credential
	golden golden
	// text is the ciphertext, open the same decrypted, padding and all.
	text, open []byte
}

// cbcIV is the vector of Wowpe's documentation.
const cbcIV = "1234567890123456"

// cbcOf finds a provider's first row that is verified by a cipher with PKCS#7
// padding and a key that is 16 characters as they are; nil if there is none.
func cbcOf(t *testing.T, p *provider) *cbc {
	t.Helper()
	for i := range p.plan.Rows {
		g, err := p.golden(p.plan.Rows[i].Golden)
		if err != nil || len(g.expect.Evidence) == 0 || g.expect.Evidence[0].Algorithm != host.AES128CBC {
			continue
		}
		c := &cbc{provider: p, place: p.plan.Credentials[0], golden: g}
		copied := g
		var text string
		if err := c.place.alter(&copied, func(s string) string { text = s; return s }); err != nil {
			t.Fatal(err)
		}
		if c.text, err = base64.StdEncoding.DecodeString(text); err != nil {
			t.Fatal(err)
		}
		block, err := aes.NewCipher([]byte(g.Secrets[g.expect.Evidence[0].Secret][0]))
		if err != nil {
			t.Fatal(err)
		}
		c.open = make([]byte, len(c.text))
		cipher.NewCBCDecrypter(block, []byte(cbcIV)).CryptBlocks(c.open, c.text)
		if !padded(c.open) || !json.Valid(c.open[:len(c.open)-int(c.open[len(c.open)-1])]) {
			t.Fatalf("%s: the test's own decryption makes no sense of it: %q", g.Name, c.open)
		}
		return c
	}
	return nil
}

// padded reports whether PKCS#7 padding is right.
func padded(text []byte) bool {
	n := int(text[len(text)-1])
	if n == 0 || n > aes.BlockSize || n > len(text) {
		return false
	}
	for _, b := range text[len(text)-n:] {
		if int(b) != n {
			return false
		}
	}
	return true
}

// with is the golden with another ciphertext.
func (c *cbc) with(t *testing.T, text string) *golden {
	t.Helper()
	g := c.golden
	if err := c.place.alter(&g, func(string) string { return text }); err != nil {
		t.Fatal(err)
	}
	return &g
}

// answers counts distinct answers, every field of them.
type answers struct {
	mu   sync.Mutex
	seen map[string]int
}

func (a *answers) add(answer host.Answer, rec *host.Record) {
	text := fmt.Sprintf("%d %q %q retry %v close %v record %v",
		answer.Status, answer.ContentType, answer.Body, answer.RetryAfter, answer.Close, rec != nil)
	a.mu.Lock()
	a.seen[text]++
	a.mu.Unlock()
}

// mutants takes every value of the last two bytes of the last block but one,
// which decide what the padding decrypts to, but the true one.
func (c *cbc) mutants(t *testing.T, got *answers) (right, wrong int) {
	t.Helper()
	at := len(c.text) - aes.BlockSize - 2
	var wait sync.WaitGroup
	var mu sync.Mutex
	for part := range slices.Chunk(slices.Collect(upTo(1<<16)), 1<<16/runtime.GOMAXPROCS(0)+1) {
		d, err := c.desk(&c.golden, c.golden.Secrets)
		if err != nil {
			t.Fatal(err)
		}
		wait.Go(func() {
			text, last := slices.Clone(c.text), make([]byte, aes.BlockSize)
			for _, v := range part {
				text[at], text[at+1] = byte(v>>8), byte(v)
				if text[at] == c.text[at] && text[at+1] == c.text[at+1] {
					continue
				}
				// What the last block decrypts to changes as these bytes do.
				copy(last, c.open[len(c.open)-aes.BlockSize:])
				last[aes.BlockSize-2] ^= c.text[at] ^ text[at]
				last[aes.BlockSize-1] ^= c.text[at+1] ^ text[at+1]
				answer, rec, _ := d.take(c.with(t, base64.StdEncoding.EncodeToString(text)))
				got.add(answer, rec)
				mu.Lock()
				if padded(last) {
					right++
				} else {
					wrong++
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return right, wrong
}

func upTo(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// others are the ways to be wrong that are not the padding's: each must be
// answered alike.
func (c *cbc) others(t *testing.T, got *answers) int {
	t.Helper()
	whole := base64.StdEncoding.EncodeToString(c.text)
	random := make([]byte, len(c.text))
	cases := map[string]*golden{
		"no text at all":         c.with(t, ""),
		"no base64":              c.with(t, "?"+whole[1:]),
		"base64 cut":             c.with(t, whole[:len(whole)-3]),
		"base64 of URLs":         c.with(t, strings.NewReplacer("+", "-", "/", "_").Replace(whole)),
		"line breaks":            c.with(t, whole[:76]+"\r\n"+whole[76:]),
		"a byte less":            c.with(t, base64.StdEncoding.EncodeToString(c.text[:len(c.text)-1])),
		"a byte more":            c.with(t, base64.StdEncoding.EncodeToString(append(slices.Clone(c.text), 0))),
		"a block less":           c.with(t, base64.StdEncoding.EncodeToString(c.text[:len(c.text)-aes.BlockSize])),
		"one block":              c.with(t, base64.StdEncoding.EncodeToString(c.text[:aes.BlockSize])),
		"the last block alone":   c.with(t, base64.StdEncoding.EncodeToString(c.text[len(c.text)-aes.BlockSize:])),
		"two blocks exchanged":   c.with(t, base64.StdEncoding.EncodeToString(slices.Concat(c.text[16:32], c.text[:16], c.text[32:]))),
		"zeros":                  c.with(t, base64.StdEncoding.EncodeToString(random)),
		"another body beside it": c.edited(t),
	}
	missing := c.golden
	if err := c.place.alter(&missing, nil); err != nil {
		t.Fatal(err)
	}
	cases["missing"] = &missing
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		if string(cases[name].body) == string(c.golden.body) {
			t.Errorf("%s: it is the golden unchanged", name)
		}
		c.taken(t, cases[name], c.golden.Secrets, got)
	}
	secrets := map[string][]string{}
	for name, values := range c.golden.Secrets {
		secrets[name] = others(values)
	}
	c.taken(t, &c.golden, secrets, got)
	return len(cases) + 1
}

// edited has the amount of the golden's body changed and its ciphertext not.
func (c *cbc) edited(t *testing.T) *golden {
	t.Helper()
	g := c.golden
	all, err := members(g.body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		value := string(g.body[m.value:m.end])
		if other := otherText(value, 0); credential("body:"+m.path) != c.place && other != value {
			g.body = slices.Concat(g.body[:m.value], []byte(other), g.body[m.end:])
			return &g
		}
	}
	t.Fatal("no member to change")
	return nil
}

func (c *cbc) taken(t *testing.T, g *golden, secrets map[string][]string, got *answers) {
	t.Helper()
	d, err := c.desk(&c.golden, secrets)
	if err != nil {
		t.Fatal(err)
	}
	answer, rec, _ := d.take(g)
	got.add(answer, rec)
}

// TestPadding asks a provider's endpoint everything that a padding oracle
// would be asked. There is one answer, to the last field.
func TestPadding(t *testing.T) {
	asked := 0
	for _, name := range providerNames(t) {
		t.Run(name, func(t *testing.T) {
			c := cbcOf(t, loadProvider(t, name))
			if c == nil {
				return // its callbacks carry no ciphertext
			}
			asked++
			got := &answers{seen: make(map[string]int)}
			right, wrong := c.mutants(t, got)
			more := c.others(t, got)
			fmt.Fprintf(t.Output(), "%s: %d padding mutants (%d of them padded right, %d wrong) and %d other forgeries: %d distinct answer\n",
				name, right+wrong, right, wrong, more, len(got.seen))
			if right+wrong != 1<<16-1 || right < 200 || wrong < 200 {
				t.Errorf("%d mutants padded right, %d wrong: want 65,535, and many of either", right, wrong)
			}
			if len(got.seen) != 1 {
				t.Errorf("%d distinct answers, want 1:", len(got.seen))
			}
			for answer, n := range got.seen {
				fmt.Fprintf(t.Output(), "  %d times: %s\n", n, answer)
				if !strings.HasPrefix(answer, "401 ") || !strings.HasSuffix(answer, "record false") {
					t.Errorf("%d times accepted or not refused: %s", n, answer)
				}
			}
			// The golden itself is taken: it is not that nothing ever is.
			all := &answers{seen: make(map[string]int)}
			c.taken(t, &c.golden, c.golden.Secrets, all)
			for answer := range all.seen {
				if !strings.HasSuffix(answer, "record true") {
					t.Errorf("the golden itself: %s", answer)
				}
			}
		})
	}
	if asked == 0 {
		t.Error("no provider has a ciphertext to ask about")
	}
}
