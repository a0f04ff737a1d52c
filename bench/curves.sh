#!/usr/bin/env bash
# Throughput and latency of `quorate bench publish` over message size, window, producers and queues: one picture each, in docs/curves/.
#
#   bench/curves.sh [--seconds 5] [--runs 3]
#
# Three nodes and the load share the machine. Each point is the median of the runs; the cluster is new for each picture.
# Needs gnuplot and jq: apt-get install --no-install-recommends gnuplot-nox jq
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=5 runs=3
while (($#)); do
    case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    --runs) runs=$2 && shift 2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
done
for tool in gnuplot jq; do
    command -v "$tool" >/dev/null || { echo "there is no $tool: apt-get install --no-install-recommends gnuplot-nox jq" >&2 && exit 1; }
done
cargo build --release --package quorate-node
quorate=$PWD/target/release/quorate
scratch=$(mktemp --directory "${TMPDIR:-/var/tmp}/quorate-curves-XXXXXX")
endpoints=http://127.0.0.1:17400,http://127.0.0.1:17410,http://127.0.0.1:17420
members=n1=127.0.0.1:17401,n2=127.0.0.1:17411,n3=127.0.0.1:17421
pids=()

stop() {
    ((${#pids[@]})) && kill -9 "${pids[@]}" 2>/dev/null && wait "${pids[@]}" 2>/dev/null
    pids=()
    rm -rf "${scratch:?}"/n*
}
trap 'stop || true; rm -rf "$scratch"' EXIT

start() {
    for node in 0 1 2; do
        "$quorate" serve --name "n$((node + 1))" --data-dir "$scratch/n$node" --bootstrap "$members" \
            --client-addr "127.0.0.1:174${node}0" --peer-addr "127.0.0.1:174${node}1" \
            --http-addr "127.0.0.1:174${node}2" >"$scratch/n$node.log" 2>&1 &
        pids+=($!)
    done
    for _ in $(seq 100); do
        "$quorate" queue list --endpoint "$endpoints" --timeout 1s >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "the cluster has no leader" >&2
    exit 1
}

# point X FLAGS..: one line of the data file, medians of the runs: x, messages a second, confirm p50 and p99 in ms.
point() {
    local x=$1 && shift
    for _ in $(seq "$runs"); do
        timeout 300 "$quorate" bench publish --seconds "$seconds" --endpoint "$endpoints" --timeout 120s -o json "$@"
    done | jq -rs --argjson x "$x" '
        def median: sort | .[length / 2 | floor];
        [$x, (map(.msgs_per_second) | median), (map(.confirm_us.p50) | median / 1000),
         (map(.confirm_us.p99) | median / 1000)] | @tsv' | tee -a "$data"
}

# picture NAME AXIS: draws the data file.
picture() {
    mkdir -p docs/curves
    cp "$data" "docs/curves/$1.tsv"
    gnuplot <<P
set terminal svg size 760,420 font "sans-serif,12" background "white"
set output "docs/curves/$1.svg"
set logscale x 10
set logscale y2 10
set xlabel "$2"
set ylabel "messages a second"
set y2label "confirm, ms"
set yrange [0:*]
set ytics nomirror
set y2tics
set grid
set key outside bottom horizontal
plot "$data" using 1:2 with linespoints lw 2 title "messages a second", \
     "$data" using 1:3 axes x1y2 with linespoints dt 2 title "confirm p50", \
     "$data" using 1:4 axes x1y2 with linespoints dt 3 title "confirm p99"
P
}

# curve NAME AXIS COMMAND VALUES..: COMMAND is called with each value and gives the flags.
curve() {
    local name=$1 axis=$2 flags=$3 && shift 3
    data=$scratch/$name.tsv
    echo "== $name" >&2
    start
    for value in "$@"; do
        # shellcheck disable=SC2046 # the flags are words
        point "$value" $($flags "$value")
    done
    stop || true
    picture "$name" "$axis"
}

by_size() { echo --producers 16 --window 256 --size "${1}B"; }
by_window() { echo --producers 16 --window "$1" --size 1KiB; }
by_producers() { echo --producers "$1" --window 256 --size 1KiB; }
by_queues() { echo --producers 64 --window 64 --size 1KiB --queues "$1"; }

curve size "body, bytes" by_size 100 256 1024 4096 16384 65536 262144
curve window "in flight, each of 16 producers" by_window 1 4 16 64 256 1024 4096
curve producers "producers, 256 in flight each" by_producers 1 2 4 8 16 32 64
curve queues "queues" by_queues 1 10 100 1000 10000
