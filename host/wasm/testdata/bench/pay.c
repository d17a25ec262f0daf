// The plugin of the measurements in a language without a runtime: what go/main.go
// does, call for call but for the header, which is not looked at for a second
// value.

#define IMPORT(name) __attribute__((import_module("postern1"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

IMPORT(view) int view(int kind, int bytes);
IMPORT(get) int get(int view, const char *path, int path_length, char *out, int room);
IMPORT(header) int header(const char *name, int name_length, int i, char *out, int room);
IMPORT(signed_begin) int signed_begin(const char *secret, int length);
IMPORT(signed_body) int signed_body(int signed_bytes);
IMPORT(signed_check) int signed_check(int signed_bytes, const char *signature, int length, int encoding);
IMPORT(event_begin) int event_begin(int evidence);
IMPORT(set) int set(int field, const char *text, int length);
IMPORT(map) int map(int field, int view, const char *path, int path_length);
IMPORT(ack) int ack(int status, const char *type, int type_length, const char *body, int body_length);
IMPORT(reason) int reason(int why, const char *detail, int length);

enum { JSON = 1, HEX = 1, ACCEPT = 1, REJECT = 4, NOT_VERIFIED = 1, MALFORMED = 2, NOT_UNDERSTOOD = 3 };
enum {
	TYPE = 1, SUBJECT = 2, TIME = 3, KEY = 4, STATUS = 5, PROVIDER_STATUS = 6,
	AMOUNT = 7, CURRENCY = 8, MERCHANT_REF = 10, METHOD = 13,
};

// A literal and its length.
#define LIT(s) s, sizeof(s) - 1

static char room[4096];
static int failed;

static void say(int field, const char *at, int length) {
	if (set(field, at, length) < 0) failed = 1;
}

static void say_of(int field, int v, const char *path, int path_length) {
	if (map(field, v, path, path_length) < 0) failed = 1;
}

static int reject(int why, const char *detail, int length) {
	reason(why, detail, length);
	return REJECT;
}

static int same(const char *a, int a_length, const char *b, int length) {
	if (a_length != length) return 0;
	for (int i = 0; i < length; i++)
		if (a[i] != b[i]) return 0;
	return 1;
}

EXPORT(postern_abi) int postern_abi(void) { return 1; }

EXPORT(postern_handle) int postern_handle(void) {
	failed = 0;
	int body = view(JSON, 0);
	if (body < 0) return reject(MALFORMED, LIT("body is not JSON"));
	int length = header(LIT("X-Signature"), 0, room, sizeof(room));
	if (length < 0 || length > (int)sizeof(room)) return reject(NOT_VERIFIED, LIT("no signature"));
	int covered = signed_begin(LIT("key"));
	signed_body(covered);
	int proof = signed_check(covered, room, length, HEX);
	if (proof < 0) return reject(NOT_VERIFIED, LIT("X-Signature does not match"));
	length = get(body, LIT("/status"), room, sizeof(room));
	if (!same(room, length, LIT("paid"))) return reject(NOT_UNDERSTOOD, LIT("status"));
	event_begin(proof);
	say(TYPE, LIT("payment.succeeded"));
	say_of(SUBJECT, body, LIT("/id"));
	say_of(TIME, body, LIT("/paid_at"));
	say_of(KEY, body, LIT("/id"));
	say(STATUS, LIT("succeeded"));
	say(PROVIDER_STATUS, room, length);
	say_of(AMOUNT, body, LIT("/amount/value"));
	say_of(CURRENCY, body, LIT("/amount/currency"));
	say_of(MERCHANT_REF, body, LIT("/order/reference"));
	say_of(METHOD, body, LIT("/method"));
	if (failed) return reject(MALFORMED, LIT("a field"));
	ack(200, LIT("application/json"), LIT("{\"received\":true}"));
	return ACCEPT;
}
