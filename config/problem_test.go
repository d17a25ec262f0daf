package config

import "testing"

func TestSuggest(t *testing.T) {
	t.Parallel()
	options := []string{"listen", "public_url", "max_body", "read_timeout", "write_timeout"}
	rows := []struct{ got, want string }{
		{"lisen", `did you mean "listen"?`},
		{"Listen", `did you mean "listen"?`},
		{"max_bdoy", `did you mean "max_body"?`},
		{"readtimeout", `did you mean "read_timeout"?`},
		{"path", "known here: listen, max_body, public_url, read_timeout, write_timeout"},
		{"zzz", "known here: listen, max_body, public_url, read_timeout, write_timeout"},
		{"", "known here: listen, max_body, public_url, read_timeout, write_timeout"},
	}
	for _, r := range rows {
		if got := suggest(r.got, options); got != r.want {
			t.Errorf("suggest(%q) = %s, want %s", r.got, got, r.want)
		}
	}
	if got := suggest("x", nil); got != "" {
		t.Errorf("suggest without options = %q", got)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	rows := []struct {
		text string
		size Size
	}{{"0", 0}, {"1", 1}, {"1KiB", 1024}, {"1MiB", 1 << 20}, {"3GiB", 3 << 30}, {"1025", 1025}, {"-1KiB", -1024}}
	for _, r := range rows {
		var got Size
		if err := got.UnmarshalText([]byte(r.text)); err != nil || got != r.size {
			t.Errorf("UnmarshalText(%s) = %d, %v, want %d", r.text, got, err, r.size)
		}
		if s := r.size.String(); s != r.text {
			t.Errorf("%d.String() = %s, want %s", r.size, s, r.text)
		}
	}
	for _, text := range []string{"", "1MB", "1.5MiB", "MiB", "9223372036854775807KiB", "0x10", "1 000"} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText(%q) = %d, want an error", text, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(string(Example()))
	f.Add(string(Demo()))
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Load(Options{Text: []byte(text), Environ: exampleEnviron})
		if (cfg == nil) == (err == nil) {
			t.Errorf("Load = %v, %v", cfg, err)
		}
	})
}
