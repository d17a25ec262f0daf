package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern/postern/sdk/sdktest"
)

// seen is a genuine callback as anybody knows it who read it: what was
// encrypted, padding and all, and the ciphertext. It has no key.
type seen struct {
	order, client, amount string
	plain, sealed         []byte
}

const (
	spliceKey = "test-key-current"
	// manySeen is how many callbacks of either outcome a forger has collected.
	manySeen = 4000
)

// collect is what a forger has seen: payouts of one outcome.
func collect(t *testing.T, random *rand.Rand, status, first int) []*seen {
	t.Helper()
	block, err := aes.NewCipher([]byte(spliceKey))
	if err != nil {
		t.Fatal(err)
	}
	var all []*seen
	for i := range manySeen {
		s := &seen{
			order:  strconv.Itoa(1_000_000_000 + random.IntN(100_000_000)),
			client: fmt.Sprintf("PAYOUT-%06d", first+i),
			amount: strconv.Itoa(10+random.IntN(50_000)) + ".0000",
		}
		s.plain = fmt.Appendf(nil, `{"StatusCode":1,"Message":"%s","OrderId":"%s","Status":%d,"ClientOrderId":"%s","PaymentMode":"IMPS",`+
			`"Amount":"%s","Date":"1/%d/2026 %d:%02d:41 PM","UTR":"6015%08d","Checksum":null}`,
			"Transaction no. 1260115094107318"[:16+random.IntN(16)], s.order, status, s.client, s.amount,
			1+random.IntN(28), 1+random.IntN(12), random.IntN(60), random.IntN(100_000_000))
		missing := aes.BlockSize - len(s.plain)%aes.BlockSize
		s.plain = append(s.plain, bytes.Repeat([]byte{byte(missing)}, missing)...)
		s.sealed = make([]byte, len(s.plain))
		cipher.NewCBCEncrypter(block, []byte(vector)).CryptBlocks(s.sealed, s.plain)
		all = append(all, s)
	}
	return all
}

// joint is a callback and one of its blocks.
type joint struct {
	*seen

	at int
}

// joints are the block boundaries that follow a byte of what begins with mark
// and is length long.
func joints(all []*seen, mark string, length int) []joint {
	var found []joint
	for _, s := range all {
		start := bytes.Index(s.plain, []byte(mark))
		for at := aes.BlockSize; at < len(s.plain); at += aes.BlockSize {
			if at > start && at <= start+length {
				found = append(found, joint{s, at})
			}
		}
	}
	return found
}

// garbage is what the block of tail that ends at its joint decrypts to behind
// the head: the forger can compute it without the key.
func garbage(head, tail joint, fits func(byte) bool) (block [aes.BlockSize]byte, ok bool) {
	open, before := tail.plain[tail.at-aes.BlockSize:tail.at], []byte(vector)
	if tail.at > aes.BlockSize {
		before = tail.sealed[tail.at-2*aes.BlockSize:]
	}
	behind := head.sealed[head.at-aes.BlockSize:]
	for i := range block {
		block[i] = open[i] ^ before[i] ^ behind[i]
		if !fits(block[i]) {
			return block, false
		}
	}
	return block, true
}

// spliced is the head of one callback, garbage, and the tail of another, as the
// body that the joined ciphertext verifies.
func spliced(head, tail joint, block []byte) string {
	open := string(head.plain[:head.at]) + string(block) + string(tail.plain[tail.at:])
	open = open[:strings.LastIndexByte(open, '}')+1]
	sealed := append(bytes.Clone(head.sealed[:head.at]), tail.sealed[tail.at-aes.BlockSize:]...)
	return strings.Replace(open, checksum+"null", checksum+`"`+base64.StdEncoding.EncodeToString(sealed)+`"`, 1)
}

// search joins heads to tails until one gives a body, and returns that with the
// event that is to come of it.
func search(t *testing.T, heads, tails []joint, fits func(byte) bool, event func(head, tail joint, body string) string) (found, told string) {
	t.Helper()
	for _, head := range heads {
		for _, tail := range tails {
			if block, ok := garbage(head, tail, fits); ok && utf8.Valid(block[:]) {
				body := spliced(head, tail, block[:])
				return body, event(head, tail, body)
			}
		}
	}
	t.Fatal("no splice was found: the search tells nothing")
	return "", ""
}

// quotable reports whether a byte can stand in a JSON string as it is.
func quotable(c byte) bool { return c >= ' ' && c != '"' && c != '\\' }

// TestSplice joins genuine callbacks without the key, as anybody can who has
// collected some: the evidence stands, and every event says confirm.
func TestSplice(t *testing.T) {
	// The same callbacks in each run.
	random := rand.New(rand.NewPCG(1, 4))
	paid, failed := collect(t, random, 1, 0), collect(t, random, 0, manySeen)

	t.Run("a member name", func(t *testing.T) {
		// A success up to its ClientOrderId's name, and a failed payout from
		// within its Status's name on: that becomes a name of garbage, and the
		// failed payout has the success's status.
		body, event := search(t, joints(paid, `"ClientOrderId`, 14), joints(failed, `"Status":`, 7), quotable,
			func(head, tail joint, body string) string {
				return `{"evidence":0,"type":"payout.notified","subject":"` + head.order + `",` +
					`"references":{"merchant":"` + tail.client + `","provider":"` + head.order + `"},` +
					`"confirm":true,"provider_data":` + body + `}`
			})
		judgeSplice(t, body, event)
	})
	t.Run("a date", func(t *testing.T) {
		// A success up to its Date, and another one from within its own: every
		// member is documented and of its form, and the bank's reference is not
		// this payout's.
		body, event := search(t, joints(paid, `/2026 `, 12), joints(paid, `/2026 `, 12),
			func(c byte) bool { return quotable(c) && c <= '~' },
			func(head, tail joint, body string) string {
				_, utr, _ := strings.Cut(string(tail.plain), `"UTR":"`)
				return `{"evidence":0,"type":"payout.succeeded","subject":"` + head.order + `",` +
					`"key":["payout","` + head.client + `","` + head.order + `","final"],` +
					`"status":"succeeded","provider_status":"1","amount":"` + head.amount + `","currency":"INR",` +
					`"references":{"merchant":"` + head.client + `","provider":"` + head.order + `","bank":"` + utr[:12] + `"},` +
					`"method":"IMPS","confirm":true,"provider_data":` + body + `}`
			})
		judgeSplice(t, body, event)
	})
}

// judgeSplice runs the body as goldens, by its objects and by its text.
func judgeSplice(t *testing.T, body, event string) {
	t.Helper()
	dir := t.TempDir()
	manifest, err := os.ReadFile("plugin.json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "plugin.json"), string(manifest))
	for _, form := range []string{"object", "null-checksum"} {
		file := filepath.Join(dir, "testdata", form)
		write(t, file+".http", "POST /in/demo/wowpe HTTP/1.1\nContent-Type: application/json\n\n"+body)
		write(t, file+".golden.json", `{"about":"a splice","received":"2026-01-15T09:41:00Z",`+
			`"secrets":{"webhook-secret":["`+spliceKey+`"]},`+
			`"settings":{"cipher":"aes-128-cbc","key_form":"utf8","plaintext":"`+form+`"},`+
			`"expect":{"verdict":"accept","evidence":[{"secret":"webhook-secret","value":0,`+
			`"algorithm":"aes-128-cbc","covers":"fields"}],"events":[`+event+`]}}`)
	}
	sdktest.Run(t, dir)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
