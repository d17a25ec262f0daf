#!/bin/sh
# Signs the goldens' callbacks with openssl, so that the code under test never
# signs its own examination.
#
#   sh sign-goldens.sh           write each signature into its NAME.http (GNU sed)
#   sh sign-goldens.sh --check   compare, change nothing, fail on a difference
#
# For each */testdata/NAME.signed:
#   NAME.signed        the exact bytes that the provider signs or encrypts, put
#                      down by the rule of its documentation (no newline at the end)
#   NAME.golden.json   the secret: the first of its values
#   NAME.key           its text, where it is not that one (no newline at the end)
#   NAME.how           how it is signed; without one the folder's signed.how, and
#                      without that one "hmac-sha256 hex hmac-key"
#   NAME.http          holds the signature where the provider puts it; write zeros
#                      or any letters there. Hexadecimal capitals stay capitals
#
# NAME.how, first line: ALGORITHM ENCODING SECRET [FORM [IV]]
#   ALGORITHM   hmac-sha1, hmac-sha256, hmac-sha384, hmac-sha512, aes-128-cbc
#               (PKCS#7 padding), aes-128-cbc-zero (zero bytes up to a block)
#   ENCODING    hex; base64 (standard, padded); base64-escaped, its slashes
#               written \/ as some write JSON
#   SECRET      its name in NAME.golden.json
#   FORM        how its text becomes the key: utf8 (default), hex, base64, md5,
#               sha256-16, utf8-16
#   IV          of a cipher, 16 characters
# NAME.how, second line, if any: the text in NAME.http right before the
# signature, such as  "Checksum":"  or  X-Signature: sha256=
# Without it the signature is the first run of as many hexadecimal digits.
#
# A case whose signature is to be wrong has no NAME.signed.
set -eu
cd "$(dirname "$0")"
LC_ALL=C
export LC_ALL
check=false
[ "${1:-}" = "--check" ] && check=true
wrong=0

# hexed writes bytes as hexadecimal digits.
hexed() { od -An -v -tx1 | tr -d ' \n'; }

# key writes the key in hexadecimal: $1 its form, $2 its text.
key() {
	case $1 in
	utf8) printf %s "$2" | hexed ;;
	hex) printf %s "$2" | tr A-F a-f ;;
	base64) printf %s "$2" | openssl base64 -d -A | hexed ;;
	md5) printf %s "$2" | openssl dgst -md5 -binary | hexed ;;
	sha256-16) printf %s "$2" | openssl dgst -sha256 -binary | hexed | cut -c1-32 ;;
	utf8-16) printf '%s00000000000000000000000000000000' "$(printf %s "$2" | hexed)" | cut -c1-32 ;;
	*) echo "sign-goldens.sh: the key form $1 is unknown" >&2 && return 1 ;;
	esac
}

# signature writes the signature's bytes: $1 the algorithm, $2 the key, $3 the
# IV, $4 the file of what is signed.
signature() {
	# openssl would fill or cut it without an error.
	case $1 in
	aes-128-*) [ ${#2} -eq 32 ] || { echo "sign-goldens.sh: the key is not 16 bytes" >&2 && return 1; } ;;
	esac
	case $1 in
	hmac-*) openssl dgst -"${1#hmac-}" -mac HMAC -macopt "hexkey:$2" -binary "$4" ;;
	aes-128-cbc) openssl enc -aes-128-cbc -K "$2" -iv "$(printf %s "$3" | hexed)" -in "$4" ;;
	aes-128-cbc-zero)
		missing=$(((16 - $(wc -c <"$4") % 16) % 16))
		{ cat "$4" && head -c "$missing" /dev/zero; } |
			openssl enc -aes-128-cbc -nopad -K "$2" -iv "$(printf %s "$3" | hexed)"
		;;
	*) echo "sign-goldens.sh: the algorithm $1 is unknown" >&2 && return 1 ;;
	esac
}

# encoded writes standard input as text: $1 the encoding.
encoded() {
	case $1 in
	hex) hexed ;;
	base64) openssl base64 -A ;;
	base64-escaped) openssl base64 -A | sed 's|/|\\/|g' ;;
	*) echo "sign-goldens.sh: the encoding $1 is unknown" >&2 && return 1 ;;
	esac
}

for signed in */testdata/*.signed; do
	case=${signed%.signed}
	if [ ! -e "$case.http" ] || [ ! -e "$case.golden.json" ]; then
		echo "$signed: has no .http and .golden.json beside it" >&2
		wrong=1
		continue
	fi
	how=$case.how
	[ -e "$how" ] || how=${case%/*}/signed.how
	rule='hmac-sha256 hex hmac-key'
	before=
	if [ -e "$how" ]; then
		rule=$(sed -n 1p "$how")
		before=$(sed -n 2p "$how" | sed 's/[]\.*^$|[]/\\&/g')
	fi
	iv=
	form=utf8
	read -r algorithm encoding secret form iv <<-END
		$rule
	END
	if [ -e "$case.key" ]; then
		text=$(cat "$case.key")
	else
		text=$(sed -n "s/.*\"$secret\": \[\"\([^\"]*\)\".*/\1/p" "$case.golden.json")
	fi
	if [ -z "$text" ]; then
		echo "$case: no value of $secret" >&2
		wrong=1
		continue
	fi
	want=$(signature "$algorithm" "$(key "${form:-utf8}" "$text")" "$iv" "$signed" | encoded "$encoding")
	digits='[0-9A-Fa-f]'
	[ "$encoding" = hex ] || digits='[A-Za-z0-9+/=\\]'
	if [ -n "$before" ]; then
		place="\\($before\\)$digits*"
		got=$(sed -n "s|.*$before\\($digits*\\).*|\\1|p" "$case.http" | head -n 1)
	else
		place="\\(\\)$digits\\{${#want}\\}"
		got=$(sed -n "s|.*\\($digits\\{${#want}\\}\\).*|\\1|p" "$case.http" | head -n 1)
	fi
	same=$got
	[ "$encoding" = hex ] && same=$(printf %s "$got" | tr A-F a-f)
	if [ "$same" = "$want" ]; then
		continue
	fi
	if $check; then
		echo "$case: the signature is $got, openssl makes it $want" >&2
		wrong=1
		continue
	fi
	case $encoding$got in
	hex*[a-f]*) ;;
	hex*[A-F]*) want=$(printf %s "$want" | tr a-f A-F) ;;
	esac
	sed "s|$place|\\1$(printf %s "$want" | sed 's/\\/\\\\/g')|" "$case.http" >"$case.http.new"
	mv "$case.http.new" "$case.http"
	echo "$case: signed"
done

# No golden may count as signed without its signed bytes beside it.
for golden in $(grep -l '"algorithm": *"\(hmac-\|aes-\|signed-token\)' */testdata/*.golden.json); do
	if [ ! -e "${golden%.golden.json}.signed" ]; then
		echo "$golden: has evidence of a signature and no .signed file" >&2
		wrong=1
	fi
done
exit $wrong
