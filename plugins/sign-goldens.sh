#!/bin/sh
# Signs the goldens' callbacks with openssl, so that the code under test never
# signs its own examination.
#
#   sh sign-goldens.sh           write each signature into its NAME.http (GNU sed)
#   sh sign-goldens.sh --check   compare, change nothing, fail on a difference
#
# For each */testdata/NAME.signed:
#   NAME.signed        the exact bytes that the provider signs, put down by the
#                      rule of its documentation (no newline at the end)
#   NAME.golden.json   the key: the first value of "hmac-key"
#   NAME.key           the key, where it is not that one
#   NAME.http          holds the signature as 64 hexadecimal digits, wherever the
#                      provider puts it; write zeros there. Capitals stay capitals
#
# A case whose signature is to be wrong has no NAME.signed.
set -eu
cd "$(dirname "$0")"
check=false
[ "${1:-}" = "--check" ] && check=true
wrong=0
digits='[0-9A-Fa-f]\{64\}'

for signed in */testdata/*.signed; do
	case=${signed%.signed}
	if [ -e "$case.key" ]; then
		key=$(cat "$case.key")
	else
		key=$(sed -n 's/.*"hmac-key": \["\([^"]*\)".*/\1/p' "$case.golden.json")
	fi
	want=$(openssl dgst -sha256 -hmac "$key" <"$signed" | sed 's/^.* //')
	got=$(LC_ALL=C sed -n "s/.*\($digits\).*/\1/p" "$case.http" | head -n 1)
	if [ "$(printf %s "$got" | tr A-F a-f)" = "$want" ]; then
		continue
	fi
	if $check; then
		echo "$case: the signature is $got, openssl makes it $want" >&2
		wrong=1
		continue
	fi
	case $got in
	*[a-f]*) ;;
	*[A-F]*) want=$(printf %s "$want" | tr a-f A-F) ;;
	esac
	LC_ALL=C sed "s/$digits/$want/" "$case.http" >"$case.http.new"
	mv "$case.http.new" "$case.http"
	echo "$case: signed"
done

# No golden may count as signed without its signed bytes beside it.
for golden in $(grep -l '"algorithm": *"hmac-' */testdata/*.golden.json); do
	if [ ! -e "${golden%.golden.json}.signed" ]; then
		echo "$golden: has evidence of a signature and no .signed file" >&2
		wrong=1
	fi
done
exit $wrong
