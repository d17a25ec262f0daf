package bench

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/pause"
)

const timingMethod = `
What is asked: does the time of a refusal tell where a ciphertext was wrong? The
one that matters is the padding oracle: who can tell wrong padding from right
padding reads any ciphertext.

Method. Forgeries of one wowpe callback, of one length each, in classes by what
is wrong with them, made with the key, which a forger lacks, so that the classes
are pure: "late" has the last block but one garbled and breaks the JSON at that
block's first byte, "early" at the text's first byte, padding right or wrong. In
each round one new forgery of every class is made, then they are judged, both in
random order, so that what the machine does at that moment falls on all alike. A
round's differences are paired. For a pair of classes: the sign test over the
rounds (ties left out), the mean difference of the middle 80%% of the rounds and
its 99%% bootstrap interval (%d resamples). "again" is a class that differs from
another by nothing: what the method finds without anything to find. A pair marked
* fails the run at p < %g in the sign test.

  judge:  Endpoint.Judge, one callback at a time, no floor. What follows from
          the key's being wrong, or from saying something else, takes its own
          time here: the floor hides it. Padding must not.
  ingest: Host.Ingest with Refusal %v and Pause pause.For, as the server sets
          them; %d at the same time, most of them asleep. No class may be told
          from another.
  alone:  the same, one at a time, for the classes that take least and most. On a
          process that does nothing else it shows whether the floor is exact: a
          timer of Go's, which is not, is found here and drowns in ingest.
`

const (
	resamples   = 400
	significant = 1e-5
	floor       = 2 * time.Millisecond
	askers      = 16
)

// class is a way to be wrong, and makes ciphertexts that are wrong in it.
type class struct {
	name string
	make func(*forger) []byte
}

// forger makes forgeries of a golden whose key it knows.
type forger struct {
	golden *wasm.Golden
	body   string
	// sent is the ciphertext as it stands in the body, text the same decrypted
	// with its padding.
	sent           string
	text           []byte
	block, foreign cipher.Block
	rnd            *rand.Rand
}

// timingIV is the vector of Wowpe's documentation.
const timingIV = "1234567890123456"

func newForger(b *testing.B, file string) *forger {
	b.Helper()
	goldens, err := wasm.ReadGoldens(file)
	if err != nil {
		b.Fatalf("%v (build it with: make plugins)", err)
	}
	f := &forger{rnd: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	for i := range goldens {
		if goldens[i].Name == "success" {
			f.golden = &goldens[i]
		}
	}
	if f.golden == nil {
		b.Fatal("wowpe has no golden success")
	}
	_, f.body, _ = strings.Cut(string(f.golden.Request), "\n\n")
	_, rest, _ := strings.Cut(f.body, `"Checksum":"`)
	f.sent, _, _ = strings.Cut(rest, `"`)
	if f.block, err = aes.NewCipher([]byte(f.golden.Secrets["webhook-secret"][0])); err != nil {
		b.Fatal(err)
	}
	if f.foreign, err = aes.NewCipher([]byte("test-other-key-1")); err != nil {
		b.Fatal(err)
	}
	sent, err := base64.StdEncoding.DecodeString(f.sent)
	if err != nil || len(sent) < 5*aes.BlockSize {
		b.Fatalf("%d bytes of ciphertext, err %v", len(sent), err)
	}
	if f.text = f.open(sent); !rightlyPadded(f.text) || !bytes.HasPrefix(f.text, []byte(`{"StatusCode":1,`)) {
		b.Fatalf("the golden decrypts to %q", f.text)
	}
	return f
}

func (f *forger) open(sent []byte) []byte {
	out := make([]byte, len(sent))
	cipher.NewCBCDecrypter(f.block, []byte(timingIV)).CryptBlocks(out, sent)
	return out
}

func (f *forger) seal(block cipher.Block, text []byte) []byte {
	out := make([]byte, len(text))
	cipher.NewCBCEncrypter(block, []byte(timingIV)).CryptBlocks(out, text)
	return out
}

// rightlyPadded is PKCS#7's rule.
func rightlyPadded(text []byte) bool {
	n := int(text[len(text)-1])
	return n > 0 && n <= aes.BlockSize && bytes.Count(text[len(text)-n:], []byte{byte(n)}) == n
}

// callback has the golden's body with another ciphertext in it.
func (f *forger) callback(ciphertext []byte) *host.Callback {
	return &host.Callback{
		Method: "POST", Target: "/in/demo/wowpe", PublicURL: "https://postern.test/in/demo/wowpe",
		Headers:  []host.Header{{Name: "Content-Type", Value: "application/json"}},
		Body:     []byte(strings.Replace(f.body, f.sent, base64.StdEncoding.EncodeToString(ciphertext), 1)),
		Received: f.golden.Received,
	}
}

// garbled replaces a ciphertext block at random until the block that it
// decrypts to begins with a byte that no JSON has, and the last block but one
// until the padding is as asked for.
func (f *forger) garbled(at int, right bool) []byte {
	sent := f.seal(f.block, f.text)
	last := len(sent)/aes.BlockSize - 2
	for {
		f.randomise(sent, at)
		f.randomise(sent, last)
		if right {
			// One byte of padding: the commonest right one of a random block.
			f.fix(sent, last)
		}
		text := f.open(sent)
		if broken := text[at*aes.BlockSize]; broken < ' ' && strings.IndexByte("\t\n\r", broken) < 0 && rightlyPadded(text) == right {
			return sent
		}
	}
}

func (f *forger) randomise(sent []byte, block int) {
	for i := range aes.BlockSize {
		sent[block*aes.BlockSize+i] = byte(f.rnd.Uint32())
	}
}

// fix makes the last byte of the text 1.
func (f *forger) fix(sent []byte, block int) {
	sent[(block+1)*aes.BlockSize-1] ^= f.open(sent)[len(sent)-1] ^ 1
}

// saying has the text say something else in place of old, as long.
func (f *forger) saying(old, other string) []byte {
	return f.seal(f.block, bytes.Replace(f.text, []byte(old), []byte(other), 1))
}

// classes are the ways to be wrong.
var classes = []class{
	{"padding wrong, late", func(f *forger) []byte { return f.garbled(f.late(), false) }},
	{"padding right, late", func(f *forger) []byte { return f.garbled(f.late(), true) }},
	{"padding wrong, late, again", func(f *forger) []byte { return f.garbled(f.late(), false) }},
	{"padding wrong, early", func(f *forger) []byte { return f.garbled(0, false) }},
	{"padding right, early", func(f *forger) []byte { return f.garbled(0, true) }},
	{"another key", func(f *forger) []byte { return f.seal(f.foreign, f.text) }},
	{"first member differs", func(f *forger) []byte { return f.saying(`{"StatusCode":1,`, `{"StatusCode":2,`) }},
	{"last member differs", func(f *forger) []byte { return f.saying(`"UTR":"6`, `"UTR":"7`) }},
}

func (f *forger) late() int { return len(f.text)/aes.BlockSize - 2 }

// alike are the pairs of classes that nothing may tell apart even without the
// floor.
var alike = [][2]int{{0, 1}, {3, 4}, {0, 2}}

// BenchmarkTiming measures refusals, prints what it found and writes it to
// timing.txt. It is no benchmark in that it measures a difference and no speed;
// it takes some seven minutes, for which it is not among the tests.
// POSTERN_ROUNDS shortens it.
func BenchmarkTiming(b *testing.B) {
	rounds := 500_000
	if text := os.Getenv("POSTERN_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	file := filepath.Join("..", "plugins", "dist", "wowpe.wasm")
	f := newForger(b, file)
	ep := f.endpoint(b, file)
	for _, c := range classes {
		res, err := ep.Judge(b.Context(), f.callback(c.make(f)))
		if err != nil || res.Verdict != host.Reject || res.Reason != host.NotVerified {
			b.Fatalf("%s: %v %v, err %v: it is no forgery", c.name, res.Verdict, res.Reason, err)
		}
	}
	var report bytes.Buffer
	revision, err := exec.CommandContext(b.Context(), "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		revision = []byte("unknown")
	}
	fmt.Fprintf(&report, "# make timing: %s, %d cores, revision %s\n# %d rounds of judge, %d of ingest, %d of alone\n",
		runtime.Version(), runtime.NumCPU(), bytes.TrimSpace(revision), rounds, rounds/5, rounds/20)
	fmt.Fprintf(&report, timingMethod, resamples, significant, floor, askers)
	told := reportPairs(&report, "judge", f.timeJudge(b, ep, rounds), alike)
	told += reportPairs(&report, "ingest", f.timeIngest(b, ep, rounds/5, askers), nil)
	all := classes
	classes = []class{all[0], all[1], all[5]}
	told += reportPairs(&report, "alone", f.timeIngest(b, ep, rounds/20, 1), nil)
	classes = all
	fmt.Fprintf(&report, "\n%d of the pairs marked * can be told apart\n", told)
	os.Stdout.Write(report.Bytes())
	if told > 0 {
		b.Errorf("%d pairs can be told apart", told)
	}
	if err := os.WriteFile("timing.txt", report.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
}

func (f *forger) endpoint(b *testing.B, file string) *host.Endpoint {
	b.Helper()
	runtime, err := wasm.New(b.Context(), wasm.Options{Instances: askers, Wait: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { runtime.Close(context.Background()) })
	module, err := runtime.Load(b.Context(), file)
	if err != nil {
		b.Fatal(err)
	}
	plugin, err := module.Bind(wasm.Binding{Secrets: f.golden.Secrets, Settings: f.golden.Settings})
	if err != nil {
		b.Fatal(err)
	}
	return &host.Endpoint{
		Tenant: "demo", Name: "wowpe", Provider: "wowpe", Plugin: plugin,
		PluginVersion: module.Version(), Tokens: plugin.Tokens(),
	}
}

// timings holds one row for each class: its time in each round, in
// nanoseconds.
type timings [][]int64

func newTimings(rounds int) timings {
	all := make(timings, len(classes))
	for i := range all {
		all[i] = make([]int64, rounds)
	}
	return all
}

// round makes one forgery of each class, and then judges them in random order.
func (f *forger) round(all timings, i int, judge func(*host.Callback)) {
	var made [16]*host.Callback
	for _, c := range f.rnd.Perm(len(classes)) {
		made[c] = f.callback(classes[c].make(f))
	}
	for _, c := range f.rnd.Perm(len(classes)) {
		start := time.Now()
		judge(made[c])
		all[c][i] = int64(time.Since(start))
	}
}

// another is the same forger with a source of chance of its own.
func (f *forger) another() *forger {
	out := *f
	out.rnd = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	return &out
}

func (f *forger) timeJudge(b *testing.B, ep *host.Endpoint, rounds int) timings {
	b.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	all := newTimings(rounds)
	for i := -1000; i < rounds; i++ {
		f.round(all, max(i, 0), func(cb *host.Callback) {
			if _, err := ep.Judge(context.Background(), cb); err != nil {
				b.Error(err)
			}
		})
	}
	return all
}

func (f *forger) timeIngest(b *testing.B, ep *host.Endpoint, rounds, askers int) timings {
	b.Helper()
	h := &host.Host{Store: mem.New(mem.Options{}), Log: slog.New(slog.DiscardHandler), Refusal: floor, Pause: pause.For}
	all := newTimings(rounds)
	var wait sync.WaitGroup
	for asker := range askers {
		own := f.another()
		wait.Go(func() {
			for i := asker; i < rounds; i += askers {
				own.round(all, i, func(cb *host.Callback) {
					if answer := h.Ingest(context.Background(), ep, cb); answer.Status != 401 {
						b.Errorf("answered %d", answer.Status)
					}
				})
			}
		})
	}
	wait.Wait()
	return all
}

// reportPairs writes the table of one measurement and returns how many pairs
// that must not be told apart can be. Nil for must means all.
func reportPairs(out io.Writer, name string, all timings, must [][2]int) (told int) {
	fmt.Fprintf(out, "\n%s, microseconds\n", name)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "class\tp10\tmedian\tp90\tp99")
	for c := range classes {
		at := quantiles(all[c], 0.1, 0.5, 0.9, 0.99)
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.1f\n", classes[c].name, at[0]/1e3, at[1]/1e3, at[2]/1e3, at[3]/1e3)
	}
	w.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(w, "a\tb\ta slower\tb slower\tp (sign test)\ta - b, ns\t99% interval\t")
	pairs := slices.Clone(must)
	for c := 1; c < len(classes); c++ {
		if pair := [2]int{0, c}; !slices.Contains(must, pair) {
			pairs = append(pairs, pair)
		}
	}
	for i, pair := range pairs {
		diff := paired(all[pair[0]], all[pair[1]])
		plus, minus, p := signTest(diff)
		mean, low, high := bootstrap(diff, rand.New(rand.NewPCG(rand.Uint64(), 0)))
		mark := ""
		if must == nil || i < len(must) {
			mark = "*"
			if p < significant {
				mark = "* TOLD APART"
				told++
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.2g\t%.0f\t%.0f to %.0f\t%s\n",
			classes[pair[0]].name, classes[pair[1]].name, plus, minus, p, mean, low, high, mark)
	}
	w.Flush()
	return told
}
