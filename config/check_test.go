package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	inEndpoint = "tenants: {t: {endpoints: {e: {plugin: p, %}}}}"
	inTenant   = "tenants: {t: {%, endpoints: {e: {plugin: p}}}}"
	inWebhook  = "sinks: {s: {type: webhook, url: 'https://example.com', secrets: " + validSigning + ", %}}"
	inFile     = "sinks: {s: {type: file, path: a, %}}"
)

func TestLoad_refuses(t *testing.T) {
	t.Parallel()
	rows := []struct{ in, text, want string }{
		{"%", "intake: {listen: ':70000'}", "intake.listen: port \"70000\""},
		{"%", "intake: {listen: ''}", "intake.listen: is empty"},
		{"%", "intake: {max_body: 0}", "intake.max_body: 0 is not positive"},
		{"%", "intake: {max_body: 65MiB}", "intake.max_body: 65MiB is more than 64MiB"},
		{"%", "intake: {max_body: 99999999999GiB}", "intake.max_body: \"99999999999GiB\" is no size"},
		{"%", "intake: {max_connections: 0}", "intake.max_connections: 0 is not positive"},
		{"%", "intake: {read_timeout: 0s}", "a zero read timeout lets a slow client hold a connection for ever"},
		{"%", "intake: {write_timeout: -1s}", "intake.write_timeout: -1s is negative"},
		{"%", "intake: {drain_timeout: 0s}", "intake.drain_timeout: a zero"},
		{"%", "intake: {Listen: ':1'}", "did you mean \"listen\"?"},
		{"%", "intake: {public_url: 'ftp://x'}", "intake.public_url: is no http"},
		{"%", "intake: {public_url: 'https://'}", "intake.public_url: names no host"},
		{"%", "intake: {public_url: 'https://x?a=b'}", "intake.public_url: has a query"},
		{"%", "intake: {tls: {cert: c.pem}}", "intake.tls.key: is missing beside"},
		{"%", "intake: {tls: {key: k.pem}}", "intake.tls.cert: is missing beside"},
		{"%", "intake: {tls: {client_ca: ca.pem}}", "intake.tls.cert: is missing: without TLS"},
		{"%", "intake: {tls: {Cert: c.pem}}", "did you mean \"cert\"?"},
		{"%", "intake: {tls: c.pem}", "intake.tls: must be a mapping"},
		{"%", "intake: {trusted_proxies: [10.0.0.0/8, '::/0']}", "intake.trusted_proxies: ::/0 is everybody"},
		{"%", "intake: {trusted_proxies: 10.0.0.1/8}", "intake.trusted_proxies: \"10.0.0.1/8\" has bits set behind its length (write 10.0.0.0/8,"},
		{"%", "intake: {trusted_proxies: [10.0.0.1, proxy.example.com]}", "intake.trusted_proxies.1: \"proxy.example.com\" is neither"},
		{"%", "intake: {trusted_proxies: ['10.0.0.1:80']}", "is neither an address nor a range"},
		{"%", "intake: {trusted_proxies: 'fe80::1%eth0'}", "intake.trusted_proxies: \"fe80::1%eth0\" has a zone"},
		{"%", "intake: {trusted_proxies: '::ffff:10.0.0.0/104'}", "intake.trusted_proxies: \"::ffff:10.0.0.0/104\" is IPv4 written as IPv6"},
		{"%", "intake: {trusted_proxies: ''}", "intake.trusted_proxies: is empty (write [] for an empty list)"},
		{"%", "intake: {trusted_proxies: }", "intake.trusted_proxies: must be a list"},
		{inTenant, "allow_from: [192.0.2.1, '']", "tenants.t.allow_from.1: \"\" is neither"},
		{inTenant, "allow_from: [1]", "tenants.t.allow_from.0: must be text"},
		{inTenant, "rate_limit: {per_second: -1}", "tenants.t.rate_limit.per_second: -1 is negative"},
		{inTenant, "rate_limit: {per_second: .inf}", "tenants.t.rate_limit.per_second: is no number"},
		{inTenant, "rate_limit: {per_second: 1e-9}", "tenants.t.rate_limit.per_second: 1e-09 is not between"},
		{inTenant, "rate_limit: {per_second: 10, burst: -1}", "tenants.t.rate_limit.burst: -1 is negative"},
		{inTenant, "rate_limit: {per_second: 10, burst: 1.5}", "tenants.t.rate_limit.burst: is no whole number"},
		{inTenant, "rate_limit: 10", "tenants.t.rate_limit: must be a mapping"},
		{inEndpoint, "rate_limit: {burst: 3}", "rate_limit.per_second: is missing beside burst"},
		{inEndpoint, "rate_limit: {per_second: 10/s}", "rate_limit.per_second: is no number"},
		{inEndpoint, "allow_from: 192.0.2.300", "tenants.t.endpoints.e.allow_from: \"192.0.2.300\" is neither"},
		{"%", "admin: {listen: ':8081'}", "admin.listen: \":8081\" is reachable"},
		{"%", "admin: {listen: 'example.com:1'}", "admin.listen: \"example.com:1\" is reachable"},
		{"%", "admin: {listen: '127.0.0.1:8080'}", "admin.listen: is also intake.listen"},
		{"%", "store: {max_kept: 0}", "store.max_kept: 0 is not positive"},
		{"%", "store: {segment_size: 1023KiB}", "store.segment_size: 1023KiB is not between 1MiB and 16GiB"},
		{"%", "store: {segment_size: 17GiB}", "store.segment_size: 17GiB is not"},
		{"%", "store: {segment_age: 0s}", "store.segment_age: a zero segment age would"},
		{"%", "store: {retention: 0d}", "store.retention: a zero retention"},
		{"%", "store: {retention: 7}", "store.retention: 7 has no unit"},
		{"%", "store: {dedup_window: -1h}", "store.dedup_window: -1h0m0s is negative"},
		{"%", "store: {dedup_window: 0s}", "store.dedup_window: a zero dedup window"},
		{"%", "store: {reserve: -1}", "store.reserve: -1 is negative"},
		{"%", "store: {reserve: 2%}", "store.reserve: \"2%\" is no size"},
		{"%", "store: {queue_requests: 0}", "store.queue_requests: 0 is not positive"},
		{"%", "store: {queue_bytes: 0}", "store.queue_bytes: 0 is not positive"},
		{"%", "store: {quarantine: {ring_entries: 0}}", "store.quarantine.ring_entries: 0 is not positive"},
		{"%", "store: {quarantine: {ring_bytes: -1}}", "store.quarantine.ring_bytes: -1 is not positive"},
		{"%", "store: {quarantine: {rings: 1}}", "store.quarantine.rings: unknown key"},
		{"%", "store: {engine: postgres}", "store.dsn: is missing"},
		{"%", "store: {engine: postgres, dsn: ''}", "store.dsn: is missing"},
		{"%", "store: {engine: postgres, dsn: 'env:POSTERN_TEST_UNSET'}", "store.dsn: environment variable \"POSTERN_TEST_UNSET\" is not set"},
		{"%", "store: {dsn: 'value:postgres://127.0.0.1/x'}", "store.dsn: is for engine postgres, and the engine is \"bolt\""},
		{"%", "plugins: {path: ''}", "plugins.path: is empty"},
		{"%", "plugins: {cache_size: 1000}", "plugins.cache_size: 1000 is below 1MiB"},
		{"%", "reload: {watch: 2}", "reload.watch: "},
		{"%", "plugins: {max_memory: 100KiB}", "plugins.max_memory: 100KiB is not"},
		{"%", "plugins: {max_memory: 128MiB}", "plugins.max_memory: 128MiB is not"},
		{"%", "plugins: {fuel: 9}", "plugins.fuel: 9 is below 100000"},
		{"%", "plugins: {max_fuel: 1000000}", "plugins.max_fuel: 1000000 is not between plugins.fuel (2000000)"},
		{"%", "plugins: {isolation: some}", "plugins.isolation: "},
		{"%", "tenants: {a: {concurrency: -1}}", "tenants.a.concurrency: -1 is negative"},
		{"%", "tenants: {a: {endpoints: {b: {plugin: c, fuel: -1}}}}", "tenants.a.endpoints.b.fuel: -1 is negative"},
		{"%", "plugins: {keys: [RWno]}", "plugins.keys.0: \"RWno\" is no minisign public key (write the line of the .pub file that begins with RW"},
		{"%", "plugins: {keys: RWQm0cKTz9UcSxzgXwRFcQTn8yXXNT8V6hobXTUm3o, require_signature: true}", "plugins.keys.0: "},
		{"%", "plugins: {require_signature: true}", "plugins.keys: is empty beside plugins.require_signature"},
		{"%", "plugins: {require_signature: maybe}", "plugins.require_signature: is neither true nor false"},
		{"%", "tenants: {t: {endpoints: {e: {plugin: 'p@1.2'}}}}", "plugin: \"1.2\" is neither a semantic version such as 1.2.3 nor sha256:"},
		{"%", "tenants: {t: {endpoints: {e: {plugin: 'p@sha256:../../p'}}}}", "plugin: \"../../p\" is no SHA-256"},
		{"%", "plugins: {wait: 0s}", "plugins.wait: a zero wait"},
		{"%", "plugins: {pool: -1}", "plugins.pool: -1 is negative"},
		{"%", "tenants: [a]", "tenants: must be a mapping"},
		{"%", "tenants: {t: {endpoints: {E_1: {plugin: p}}}}", "tenants.t.endpoints.E_1: is not the form of a name"},
		{"%", "tenants: {t: {endpoints: {e: {}}}}", "tenants.t.endpoints.e.plugin: is missing"},
		{"%", "tenants: {t: {endpoints: {e: {plugin: ../p}}}}", "plugin: \"../p\" is not the form of a name"},
		{inEndpoint, "verification: false", "verification: must be text"},
		{inEndpoint, "verification: ''", "verification: is missing"},
		{inEndpoint, "token: ", "token: is empty"},
		{inEndpoint, "token: 'with/a/slash/or/more'", "token: has characters"},
		{inEndpoint, "token: [0123456789abcdef, short]", "token.1: has 5 characters"},
		{inEndpoint, "token: []", "token: is an empty list"},
		{inEndpoint, "ack: {status: 204, body: x, content_type: text/plain}", "ack.body: an answer with status 204"},
		{inEndpoint, "ack: {body: x}", "ack.content_type: is missing"},
		{inEndpoint, "ack: {content_type: \"a/b\\r\\nX: y\"}", "ack.content_type: "},
		{inEndpoint, "settings: [a]", "settings: must be a mapping"},
		{inEndpoint, "secrets: {k: ''}", "secrets.k: is empty"},
		{inEndpoint, "secrets: {k: }", "secrets.k: is empty"},
		{inEndpoint, "secrets: {k: 'value:  '}", "secrets.k: is empty"},
		{inEndpoint, "secrets: {k: 'env:EMPTY'}", "secrets.k: is empty"},
		{inEndpoint, "secrets: {k: 'env:not/a/name'}", "secrets.k: names no environment variable"},
		{inEndpoint, "secrets: {k: 'file:/nowhere/at-all'}", "secrets.k: file \"/nowhere/at-all\" cannot be read: no such file"},
		{inEndpoint, "secrets: {k: 'evn:KEY'}", "secrets.k: begins with a scheme"},
		{inEndpoint, "secrets: {k: '${KEY}'}", "secrets.k: looks like a variable"},
		{inEndpoint, "secrets: {k: 0060}", "secrets.k: must be text"},
		{inEndpoint, "secrets: {k: [a, '']}", "secrets.k.1: is empty"},
		{"%", "sinks: {s: {path: a}}", "sinks.s.type: is missing (one of file, nats, postgres, stdout, webhook)"},
		{"%", "sinks: {s: {type: file}}", "sinks.s.path: is missing"},
		{"%", "sinks: {s: {type: webhook, secrets: " + validSigning + "}}", "sinks.s.url: is missing"},
		{"%", "sinks: {s: {type: webhook, url: 'https://x'}}", "sinks.s.secrets: is missing"},
		{"%", "sinks: {a: {type: file, path: x}, b: {type: file, path: ./x}}", "sinks.b.path: \"./x\" is also the file of sinks.a"},
		{"%", "sinks: {s: {type: webhook, url: 'https://x', secrets: whsec_AAAA}}", "sinks.s.secrets: has 3 bytes"},
		{"%", "sinks: {s: {type: webhook, url: 'https://x', secrets: 'whsec_!'}}", "sinks.s.secrets: is not base64"},
		{"%", "sinks: {s: {type: webhook, url: 'https://x', secrets: [env:NONE]}}", "sinks.s.secrets.0: environment variable \"NONE\""},
		{"%", "sinks: {s: {type: webhook, url: 'https://x', secrets: whsk_AAAA}}", "sinks.s.secrets: is no Ed25519 key"},
		{"%", "sinks: {s: {type: webhook, url: 'https://x', secrets: 'whsk_!'}}", "sinks.s.secrets: is no Ed25519 key"},
		{"%", "sinks: {s: {type: webhook, url: 'https://x', secrets: whpk_AAAA}}", "sinks.s.secrets: is a public key"},
		{"%", "sinks: {s: {type: stdout, path: a}}", "sinks.s.path: unknown key"},
		{"%", "sinks: {s: {type: webhook, url: 'http://x', secrets: " + validSigning + ", tls: {ca: a}}}", "sinks.s.tls: is set, and the url is not https"},
		{inFile, "rotate: {size: -1}", "sinks.s.rotate.size: -1 is negative"},
		{inFile, "rotate: {age: -1h}", "sinks.s.rotate.age: -1h0m0s is negative"},
		{inFile, "rotate: {size: 1MiB, keep: -1}", "sinks.s.rotate.keep: -1 is negative"},
		{inFile, "rotate: {keep: 3}", "sinks.s.rotate.keep: is set, and nothing is ever rotated"},
		{inFile, "rotate: {keep: 3, age: x}", "sinks.s.rotate.age: \"x\" is no duration"},
		{inFile, "rotate: 1MiB", "sinks.s.rotate: must be a mapping"},
		{inWebhook, "tls: {cert: a}", "sinks.s.tls.key: is missing beside sinks.s.tls.cert"},
		{inWebhook, "tls: {key: a}", "sinks.s.tls.cert: is missing beside"},
		{inWebhook, "tls: {client_ca: a}", "sinks.s.tls.client_ca: unknown key"},
		{inWebhook, "format: raw", "sinks.s.format: \"raw\" is unknown (known here: binary, data, structured)"},
		{inWebhook, "format: ''", "sinks.s.format: is missing (one of"},
		{inWebhook, "headers: [a]", "sinks.s.headers: must be a mapping"},
		{inWebhook, "headers: {X-A: [a]}", "sinks.s.headers.X-A: must be text"},
		{inWebhook, "headers: {X-A: }", "sinks.s.headers.X-A: is empty"},
		{inWebhook, "headers: {X-A: 'env:NONE'}", "sinks.s.headers.X-A: environment variable \"NONE\" is not set"},
		{inWebhook, "headers: {X-A: 'https://x'}", "sinks.s.headers.X-A: begins with a scheme"},
		{inFile, "url: 'https://x'", "sinks.s.url: unknown key"},
		{inFile, "file: {path: x}", "sinks.s.file: unknown key"},
		{inWebhook, "concurrency: 0", "sinks.s.concurrency: 0"},
		{inWebhook, "batch: -1", "sinks.s.batch: -1"},
		{inWebhook, "batch: 1.5", "sinks.s.batch: is no whole number"},
		{inWebhook, "allow_private: yes please", "sinks.s.allow_private: is neither"},
		{inWebhook, "timeout: 0s", "sinks.s.timeout: a zero timeout"},
		{inWebhook, "retry: {base: 0s}", "sinks.s.retry.base: a zero base"},
		{inWebhook, "retry: {base: 1h, max: 1s}", "sinks.s.retry.max: 1s is less"},
		{inWebhook, "order: tenant", "sinks.s.order: \"tenant\" is unknown (known here: none, subject)"},
		{inWebhook, "order: ''", "sinks.s.order: is missing"},
		{inWebhook, "rate: {per_second: -1}", "sinks.s.rate.per_second: -1 is negative"},
		{inWebhook, "rate: {burst: 3}", "sinks.s.rate.per_second: is missing beside burst"},
		{inWebhook, "rate: 10", "sinks.s.rate: must be a mapping"},
		{inWebhook, "breaker: {failures: -1}", "sinks.s.breaker.failures: -1 is negative"},
		{inWebhook, "breaker: {open_for: 0s}", "sinks.s.breaker.open_for: a zero open for"},
		{inWebhook, "breaker: {open_for: 30}", "sinks.s.breaker.open_for: 30 has no unit"},
		{inWebhook, "from: yesterday", "sinks.s.from: \"yesterday\" is unknown"},
		{inWebhook, "filter: {types: ['']}", "sinks.s.filter.types.0: is empty"},
		{inWebhook, "filter: {tenants: [a, 1]}", "sinks.s.filter.tenants.1: must be text"},
		{inWebhook, "filter: {verified_by: ['hmac-[']}", "sinks.s.filter.verified_by.0: \"hmac-[\" is no pattern"},
		{inWebhook, `filter: {where: 'type == "a" && provder == "b"'}`, `sinks.s.filter.where: at character 16: "provder" is unknown (did you mean "provider"?)`},
		{inWebhook, `filter: {where: 'nobody'}`, `sinks.s.filter.where: at character 1: "nobody" is unknown (known here: all, any,`},
		{inWebhook, `filter: {where: 'type == 5'}`, "sinks.s.filter.where: at character 6: invalid operation: == (mismatched types string and int) (write it like"},
		{inWebhook, `filter: {where: 'data.status'}`, `sinks.s.filter.where: at character 1: is neither true nor false: it is known only with the data (compare it`},
		{inWebhook, `filter: {where: 'data.amount.value > "12"'}`, "sinks.s.filter.where: at character 19: may compare text letter by letter"},
		{inWebhook, `filter: {where: 5}`, "sinks.s.filter.where: must be text"},
		{inWebhook, "filter: {where: 'type == ('}", "sinks.s.filter.where: at character "},
		{inWebhook, "filter: {type: [a]}", "did you mean \"types\"?"},
	}
	for _, r := range rows {
		t.Run(r.want, func(t *testing.T) {
			t.Parallel()
			got := mustFail(t, strings.Replace(r.in, "%", r.text, 1), "EMPTY=")
			if !strings.Contains(got, r.want) {
				t.Errorf("error lacks %q:\n%s", r.want, got)
			}
			if n := strings.Count(got, "\n"); n != 0 {
				t.Errorf("one fault, %d problems:\n%s", n+1, got)
			}
		})
	}
}

func TestLoad_takes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"intake: {listen: ':0'}\nadmin: {listen: '[::1]:0'}",
		"intake: {max_body: 512KiB, read_timeout: 1m30s}",
		"intake: {max_body: 4096}",
		"admin: {listen: 'localhost:9'}",
		"store: {segment_size: 1MiB, segment_age: 1m, retention: 90d, dedup_window: 31d, reserve: 10GiB}",
		"store: {segment_size: 16GiB, queue_requests: 1, queue_bytes: 1, quarantine: {ring_entries: 1, ring_bytes: 1}}",
		"intake: {tls: {cert: c.pem, key: k.pem, client_ca: ca.pem}}",
		"intake: {trusted_proxies: [10.0.0.1, 10.1.0.0/16, 2001:db8::1, '2001:db8::/32']}",
		strings.Replace(inTenant, "%", "allow_from: 192.0.2.1, rate_limit: {per_second: 0.5, burst: 3}", 1),
		strings.Replace(inEndpoint, "%", "allow_from: [0.0.0.0/0], rate_limit: {per_second: 100}", 1),
		strings.Replace(inEndpoint, "%", "verification: none, unable: keep, reject_status: 403", 1),
		strings.Replace(inEndpoint, "%", "secrets: {k: 'value:a:b', l: 'value:$x'}", 1),
		"sinks: {s: {type: stdout}}",
		strings.Replace(inFile, "%", "rotate: {size: 100MiB, age: 1d, keep: 0}", 1),
		strings.Replace(inWebhook, "%", "format: binary, headers: {X-A: a, x_b: 'value:b:c'}, tls: {ca: c}", 1),
		strings.Replace(inWebhook, "%", "tls: {cert: a, key: b, ca: c, server_name: d}", 1),
		strings.Replace(inWebhook, "%", "retry: {over: 2d}, filter: {types: 'payment.*', providers: [ottu]}", 1),
	} {
		if _, err := load(t, text); err != nil {
			t.Errorf("Load(%s) = %v", text, err)
		}
	}
}

// What is wrong in one place must not hide what is wrong beside it.
func TestLoad_aBadValueHidesNoOther(t *testing.T) {
	t.Parallel()
	got := mustFail(t, strings.Replace(inEndpoint, "%", "reject_status: x, unknown: keep, unable: kep, token: [env:NONE]", 1))
	if n := strings.Count(got, "\n") + 1; n != 4 {
		t.Errorf("%d problems, want 4:\n%s", n, got)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, `
store: {engine: mem}
tenants: {t: {endpoints: {e: {plugin: p, verification: none, secrets: {k: plain, l: env:L}}}}}
sinks: {s: {type: webhook, url: 'http://x', secrets: env:S, allow_private: true, retry: {over: 1m, max: 1m},
  headers: {X-Region: eu, X-Api-Key: a, Cookie: 'env:L'}}}`,
		"L=l", "S="+validSigning, "POSTERN__TENANTS__T__ENDPOINTS__E__TOKEN=0123456789abcdef").Warnings()
	want := []string{
		"store.engine: mem forgets",
		"tenants.t.endpoints.e.verification: none takes",
		"sinks.s.retry.over: gives up after 1m0s",
		"sinks.s.url: is not https",
		"sinks.s.allow_private: lets",
		"tenants.t.endpoints.e.secrets.k: is written in the configuration itself",
		"sinks.s.headers.X-Api-Key: is written in the configuration itself",
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("Warnings = %q, want these beginnings: %q", got, want)
	}
}

// What holds less than one callback, or forgets before the provider does.
func TestWarnings_store(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"store: {dedup_window: 31d}":                 "",
		"store: {dedup_window: 30d}":                 "store.dedup_window: 30d is short: providers retry for up to 30 days",
		"store: {dedup_window: 36h}":                 "store.dedup_window: 36h is short",
		"store: {queue_bytes: 1MiB}":                 "",
		"store: {queue_bytes: 1023KiB}":              "store.queue_bytes: 1023KiB is less than intake.max_body, 1MiB",
		"store: {quarantine: {ring_bytes: 1MiB}}":    "",
		"store: {quarantine: {ring_bytes: 1048575}}": "store.quarantine.ring_bytes: 1048575 is less than intake.max_body, 1MiB",
	} {
		var got []string
		for _, w := range mustLoad(t, text).Warnings() {
			if strings.HasPrefix(w, "store.") {
				got = append(got, w)
			}
		}
		if all := strings.Join(got, "\n"); want == "" && all != "" || !strings.HasPrefix(all, want) {
			t.Errorf("Warnings of %s = %q, want %q", text, all, want)
		}
	}
}

func TestSpell(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 250 * time.Millisecond: "250ms", 90 * time.Second: "1m30s", time.Minute: "1m", time.Hour: "1h",
		10 * time.Minute: "10m", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", day: "24h", 45 * day: "45d", 2*day + time.Hour: "49h",
	} {
		if got := spell(d); got != want {
			t.Errorf("spell(%s) = %s, want %s", d, got, want)
		}
		var back time.Duration
		if problem, _ := duration(spell(d), &back); problem != "" || back != d {
			t.Errorf("%s is read as %s (%s)", spell(d), back, problem)
		}
	}
}

func TestWarnings_openWithoutTLS(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"{}":                                            false,
		"{listen: '[::1]:1'}":                           false,
		"{listen: 'localhost:1'}":                       false,
		"{listen: ':1'}":                                true,
		"{listen: '192.0.2.1:1'}":                       true,
		"{listen: 'example.com:1'}":                     true,
		"{listen: ':1', tls: {cert: c, key: k}}":        false,
		"{listen: ':1', trusted_proxies: [192.0.2.80]}": false,
	} {
		all := strings.Join(mustLoad(t, "intake: "+text).Warnings(), "\n")
		if got := strings.Contains(all, "intake.listen: is open to other machines without TLS"); got != want {
			t.Errorf("%s: warned %t, want %t:\n%s", text, got, want, all)
		}
	}
}

// Invariant 8: a dsn holds a password.
func TestDSN_isASecret(t *testing.T) {
	t.Parallel()
	const dsn = "postgres://someone:pass@db.example.com/postern"
	for text, want := range map[string]string{
		"store: {engine: postgres, dsn: 'value:" + dsn + "'}": "store.dsn: is written in the configuration itself",
		"store: {engine: postgres, dsn: env:DSN}":             "",
		"store: {engine: postgres}":                           "",
	} {
		environ := []string{"DSN=" + dsn}
		if !strings.Contains(text, "dsn") {
			environ = append(environ, "POSTERN__STORE__DSN=value:"+dsn)
		}
		cfg := mustLoad(t, text, environ...)
		if got := cfg.Store.DSN.Reveal(); got != dsn {
			t.Errorf("%s: dsn %q, want %q", text, got, dsn)
		}
		all := strings.Join(cfg.Warnings(), "\n")
		if !strings.Contains(all, "store.engine: postgres keeps every record") {
			t.Errorf("%s: no warning that nothing is removed", text)
		}
		if warned := strings.Contains(all, "store.dsn: "); warned != (want != "") || !strings.Contains(all, want) {
			t.Errorf("%s: warnings %s, want %q", text, all, want)
		}
		if shown := fmt.Sprintf("%+v %s", cfg, all); strings.Contains(shown, "someone") || strings.Contains(shown, "pass@") {
			t.Errorf("the dsn is shown: %s", shown)
		}
	}
}

// A plugin must have room for the largest body.
func TestWarnings_bodyBesidePluginMemory(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"":                            false,
		"intake: {max_body: 1048576}": false,
		"intake: {max_body: 1048577}": true,
		"plugins: {max_memory: 8MiB}": true,
		"plugins: {max_memory: 64MiB}\nintake: {max_body: 4MiB}": false,
		"plugins: {max_memory: 64MiB}\nintake: {max_body: 5MiB}": true,
	} {
		all := strings.Join(mustLoad(t, text).Warnings(), "\n")
		if got := strings.Contains(all, "intake.max_body: ") && strings.Contains(all, "raise plugins.max_memory to 16 times"); got != want {
			t.Errorf("Warnings of %q = %s, want one of it %t", text, all, want)
		}
	}
}

// A plugin is named by its name, a version or its digest, whatever the layer.
func TestLoad_plugins(t *testing.T) {
	t.Parallel()
	const key = "RWQm0cKTz9UcSxzgXwRFcQTn8yXXNT8V6hobXTUm3o/QW/TtuY+JzHYC"
	sum := strings.Repeat("0123456789abcdef", 4)
	for _, ref := range []string{"p", "p@1.2.0-rc.1", "p@sha256:" + sum} {
		cfg := mustLoad(t, "plugins: {keys: ["+key+"], require_signature: true}\ntenants: {t: {endpoints: {e: {plugin: '"+ref+"'}}}}")
		if got := cfg.Tenants["t"].Endpoints["e"].Plugin; got != ref {
			t.Errorf("plugin %q, want %q", got, ref)
		}
		if p := cfg.Plugins; len(p.Keys) != 1 || p.Keys[0] != key || !p.RequireSignature {
			t.Errorf("plugins %+v, want the key, and it required", p)
		}
	}
	cfg, err := Load(Options{Environ: []string{"POSTERN__PLUGINS__KEYS=" + key + ", " + key, "POSTERN__PLUGINS__REQUIRE_SIGNATURE=true"}})
	if err != nil || len(cfg.Plugins.Keys) != 2 || !cfg.Plugins.RequireSignature {
		t.Errorf("Load from the environment = %+v, %v", cfg, err)
	}
}
