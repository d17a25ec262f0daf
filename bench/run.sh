#!/bin/sh
# Measures everything in this folder. Writes results.txt, what the benchmarks
# print, and tables.txt, the comparisons that benchstat makes of it. Compare
# within a run only: the machines are shared, and two runs differ by more than
# what is measured.
set -eu
cd "$(dirname "$0")"
revision=$(git describe --tags --always --dirty) # before the last run is written over
export revision
measure() { go test -run '^$' "$@" . | while IFS= read -r line; do
	case $line in goos:* | goarch:* | cpu:* | Benchmark*) echo "$line" ;; esac
done | sed 's/#[0-9][0-9]*-/-/' | tee -a results.txt; }

# "run.sh tables" makes the tables of an earlier run again.
if [ "${1:-}" != tables ]; then
	echo "# make bench: $(go version), revision $revision" >results.txt
	measure -bench 'Ingest|Judge' -benchtime 1s -count 6
	measure -bench 'Append' -benchtime 0.5s -timeout 30m
	measure -bench 'FanOut' -benchtime 1s -count 6
	measure -bench 'Expiry' -benchtime 30000x -count 4 -timeout 30m
	measure -bench 'Open' -benchtime 3x -count 2 -timeout 30m
	measure -bench 'Process' -benchtime 5x -count 6
	./flood.sh
fi

benchstat=../.tools/benchstat
{
	echo "# The whole pipeline (Ingest) and the plugin alone (Judge), ottu: native Go and Wasm"
	$benchstat -filter '.name:(Ingest OR Judge)' -row .name -col /plugin results.txt
	echo "# A durable append: a raw file with one fdatasync for each group, and the bolt store with 0, 10^6 and 10^7 dedup keys"
	$benchstat -filter '.name:Append' -row /writers -col '/engine@(raw bolt-0 bolt-1M bolt-10M)' results.txt
	echo "# The same three stores beside each other"
	$benchstat -filter '.name:Append -/engine:raw' -row /writers -col '/engine@(bolt-0 bolt-1M bolt-10M)' results.txt
	echo "# An append by the number of sinks subscribed, 64 writers"
	$benchstat -filter '.name:FanOut' -row .name -col /sinks results.txt
	echo "# Appends of 16 writers while 400 MB of segments expire, and while none does"
	$benchstat -filter '.name:Expiry' -row .name -col /expires results.txt
	echo "# Opening 5 GB of segments after a clean end, after one without its mark, and from a cold disk"
	$benchstat -filter '.name:Open' -row .name -col /end results.txt
	echo "# The process: binary, time to ready with both plugins, resident memory when idle"
	$benchstat -filter '.name:Process' -col /start results.txt
} 2>&1 | while IFS= read -r line; do
	case $line in goos:* | goarch:* | cpu:*) ;; *) echo "$line" ;; esac
done | tee tables.txt
