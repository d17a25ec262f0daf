package calibrate

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// lock is a plugin that verifies a callback whose body names its settings.
type lock struct{ a, b string }

func (l lock) Handle(_ context.Context, cb *host.Callback) (host.Result, error) {
	switch string(cb.Body) {
	case l.a + l.b, l.a + "*", "*" + l.b:
		proof := host.Evidence{Secret: "key", Algorithm: host.HMACSHA256}
		return host.Result{Verdict: host.Reject, Reason: host.NotUnderstood, Evidence: []host.Evidence{proof}}, nil
	case "broken" + l.b:
		return host.Result{}, errors.New("trap")
	case "half":
		// Part of it was verified, and the plugin says that this is not enough.
		proof := host.Evidence{Secret: "token", Algorithm: host.StaticToken}
		return host.Result{Verdict: host.Reject, Reason: host.NotVerified, Detail: "no", Evidence: []host.Evidence{proof}}, nil
	case "silent":
		return host.Result{Verdict: host.Reject, Reason: host.NotVerified}, nil
	case "torn":
		return host.Result{Verdict: host.Reject, Reason: host.Malformed, Detail: "torn"}, nil
	case "ignored":
		return host.Result{Verdict: host.Ignore}, nil
	}
	return host.Result{Verdict: host.Reject, Reason: host.NotVerified, Detail: "no"}, nil
}

// bind refuses the combination x2.
func bind(s Settings) (*host.Endpoint, error) {
	if s["a"] == "x" && s["b"] == "2" {
		return nil, errors.New("first\nsecond")
	}
	return &host.Endpoint{Plugin: lock{s["a"], s["b"]}}, nil
}

func TestRun(t *testing.T) {
	choices := []Choice{{"a", []string{"x", "y"}}, {"b", []string{"1", "2", "3"}}}
	refused := []Refusal{{Settings{"a": "x", "b": "2"}, "first; second"}}
	for _, tt := range []struct {
		name   string
		bodies []string
		want   Report
	}{
		{"one fits, whatever the plugin makes of it", []string{"y3"}, Report{
			Fits: []Settings{{"a": "y", "b": "3"}}, Rejected: map[string]int{"no": 4},
		}},
		{"several fit, the last choice's values first", []string{"x*"}, Report{
			Fits: []Settings{{"a": "x", "b": "1"}, {"a": "x", "b": "3"}}, Rejected: map[string]int{"no": 3},
		}},
		{"a second callback leaves fewer", []string{"x*", "*3"}, Report{
			Fits: []Settings{{"a": "x", "b": "3"}}, Rejected: map[string]int{"no": 4},
		}},
		{"no combination fits both", []string{"x1", "y1"}, Report{Rejected: map[string]int{"no": 5}}},
		{"a failure of the plugin is no fit", []string{"broken1"}, Report{
			Rejected: map[string]int{"the plugin failed: trap": 2, "no": 3},
		}},
		{"evidence of something else is no fit", []string{"half"}, Report{Rejected: map[string]int{"no": 5}}},
		{"a rejection without a reason is no fit", []string{"silent"}, Report{Rejected: map[string]int{"": 5}}},
		{"a body that is refused unread is no fit", []string{"torn"}, Report{Rejected: map[string]int{"torn": 5}}},
		{"an ignored callback without evidence is no fit", []string{"ignored"}, Report{
			Rejected: map[string]int{"the plugin said ignore without evidence": 5},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var callbacks []*host.Callback
			for _, body := range tt.bodies {
				callbacks = append(callbacks, &host.Callback{Body: []byte(body)})
			}
			tt.want.Settings, tt.want.Tried, tt.want.Refused = []string{"a", "b"}, 6, refused
			if tt.want.Fits == nil {
				tt.want.Fits = []Settings{}
			}
			got, err := Run(t.Context(), choices, callbacks, bind)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("Run (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRun_leavesTheCallback(t *testing.T) {
	cb := &host.Callback{
		Method: "POST", Target: "/in/a/b?k=v", Body: []byte("x1"),
		Headers: []host.Header{{Name: "Key", Value: "v"}},
	}
	tokens := func(s Settings) (*host.Endpoint, error) {
		e, err := bind(s)
		if err == nil {
			e.Tokens = []host.Token{
				{Name: "h", In: host.InHeader, Key: "Key", Values: [][]byte{[]byte("v")}},
				{Name: "q", In: host.InQuery, Key: "k", Values: [][]byte{[]byte("v")}},
			}
		}
		return e, err
	}
	got, err := Run(t.Context(), []Choice{{"a", []string{"y", "x"}}, {"b", []string{"1"}}}, []*host.Callback{cb}, tokens)
	if err != nil || len(got.Fits) != 1 {
		t.Errorf("Run = %+v, %v; want one that fits", got, err)
	}
	if cb.Headers[0].Value != "v" || cb.Target != "/in/a/b?k=v" {
		t.Errorf("the callback was changed: %+v", cb)
	}
}

func TestRun_ends(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	_, err := Run(ctx, []Choice{{"a", []string{"x", "y", "z"}}}, []*host.Callback{{}}, func(Settings) (*host.Endpoint, error) {
		calls++
		cancel()
		return nil, errors.New("refused")
	})
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("Run = %v after %d combinations, want it to end after the first", err, calls)
	}
}

func TestYAML(t *testing.T) {
	for in, want := range map[string]string{
		"utf8": "utf8", "sha256-16": "sha256-16", "aes-128-cbc": "aes-128-cbc",
		"null": `"null"`, "Off": `"Off"`, "y": `"y"`, "": `""`, "16": `"16"`, "a: b": `"a: b"`, "-": `"-"`, "~": `"~"`,
	} {
		if got := yaml(in); got != want {
			t.Errorf("yaml(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestList(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}} {
		if got := list(words); got != want {
			t.Errorf("list(%q) = %q, want %q", words, got, want)
		}
	}
}
