#!/usr/bin/env bash
# Measures what concerns Quorate alone: a backlog, a restart with it, idle queues. bench/README.md says what the figures mean.
set -uo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
quorate=${QUORATE:-$bench/../target/release/quorate}
backlog=1000000 idle=10000 seconds=5 runs=3

# shellcheck source=bench/servers.sh
source "$bench/servers.sh"

usage() { echo "usage: bench/alone.sh [--runs 3] [--seconds 5] [--backlog 1000000] [--idle 10000]"; }

while (($#)); do
    case $1 in
    --runs | --seconds | --backlog | --idle)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }
        declare "${1#--}=$2"
        shift 2
        ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
done

for tool in jq curl setsid xargs; do
    command -v "$tool" >/dev/null || { say "$tool is missing"; exit 1; }
done
[[ -z $(quorate_needs) ]] || { say "missing: $(quorate_needs)"; exit 1; }
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/quorate-alone.XXXXXX") || exit 1
clean() {
    [[ -n ${watcher:-} ]] && kill "$watcher" 2>/dev/null
    [[ -d $scratch/quorate ]] && stop quorate
    rm -rf "$scratch"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

# ask FILTER COMMAND...: the last line of the command's JSON, filtered.
ask() {
    local filter=$1
    shift
    "$quorate" "$@" --endpoint "$(quorate_endpoints)" -o json | tail -n 1 | jq -r "$filter"
}

# work NAME: the figure of one piece of work, messages a second or microseconds.
work() {
    case $1 in
    publish) ask .msgs_per_second bench publish --producers 16 --seconds "$seconds" ;;
    pipeline) ask .msgs_per_second bench pipeline --producers 8 --consumers 8 --seconds "$seconds" ;;
    one-in-flight) ask .confirm_us.p50 bench publish --producers 1 --window 1 --seconds "$seconds" ;;
    esac
}

# The greatest RssAnon of the three nodes, in MB, looked at until killed.
watch_memory() {
    local pid kb most=0
    while sleep 0.1; do
        for pid in $(pids quorate | tr , ' '); do
            kb=$(sed -n 's/^RssAnon:\s*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null)
            ((${kb:-0} > most)) && most=$kb && echo $((most / 1024)) >"$scratch/memory"
        done
    done
}

measure_backlog() {
    local rate
    watch_memory &
    watcher=$!
    rate=$(ask .msgs_per_second bench receive --messages "$backlog" --producers 16 --consumers 8)
    kill "$watcher"
    wait "$watcher" 2>/dev/null
    watcher=
    echo "| a backlog of $backlog messages of 1 KiB drained by 8 consumers, msgs/s | $rate |"
    echo "| … anonymous memory of a node at most, MB | $(<"$scratch/memory") |"
}

now_ms() { date +%s%3N; }

# applied NODE: the index that it has applied, as it says itself; nothing if it does not answer.
applied() {
    "$quorate" cluster status --timeout 1s -o json --endpoint "$(quorate_endpoints)" 2>/dev/null |
        jq -r "select(.name == \"n$1\") | .applied // empty"
}

measure_restart() {
    local node=$1 role=$2 port until began ready="" there now
    port=$((quorate_port + 10 * (node - 1)))
    until=$(applied "$node")
    kill -KILL "$(<"$scratch/quorate/n$node.pid")"
    wait_for 10 gone "$(<"$scratch/quorate/n$node.pid")"
    began=$(now_ms)
    quorate_node "$node"
    while :; do
        if [[ -z $ready ]] && curl -fsS -o /dev/null "http://127.0.0.1:$((port + 2))/readyz" 2>/dev/null; then
            ready=$(($(now_ms) - began))
        fi
        there=$(applied "$node")
        now=$(now_ms)
        [[ -n $ready && ${there:-0} -ge $until ]] && break
        ((now - began < 60000)) || { say "node $node is not back after a minute"; exit 1; }
    done
    echo "| restart of the $role with that backlog, ms until it is ready | $ready |"
    echo "| … ms until it has applied what was there | $((now - began)) |"
}

node_of_role() {
    "$quorate" cluster status -o json --endpoint "$(quorate_endpoints)" |
        jq -r "select(.role == \"$1\") | .name[1:]" | head -n 1
}

# The newest messages of one queue beside a consumer that starts at the oldest of another: 20,000 of them a second, which come from the disk.
measure_cold() {
    local cold mode report of=(p50 p99)
    for _ in $(seq "$runs"); do
        for mode in without with; do
            cold=""
            if [[ $mode == with ]]; then
                "$quorate" receive backlog --body --endpoint "$(quorate_endpoints)" |
                    while (($(head -c 2050000 | wc -c) == 2050000)); do sleep 0.1; done &
                cold=$!
            fi
            report=$(ask '[.end_to_end_us.p50, .end_to_end_us.p99, .verified] | @tsv' bench pipeline \
                --producers 8 --consumers 8 --rate 2000 --seconds "$seconds")
            if [[ -n $cold ]]; then
                kill -0 "$cold" 2>/dev/null || { say "the backlog is at its end: more --backlog"; exit 1; }
                pkill -TERM -f "^$quorate receive backlog" && wait "$cold"
            fi
            [[ $report == *true ]] || { say "what arrived is not what was sent"; exit 1; }
            cut -f 1 <<<"$report" >>"$scratch/p50.$mode"
            cut -f 2 <<<"$report" >>"$scratch/p99.$mode"
        done
    done
    for name in "${of[@]}"; do
        echo "| 2,000 a second end to end, $name, µs beside a consumer of that backlog (without) | $(median <"$scratch/$name.with") ($(median <"$scratch/$name.without")) |"
    done
}

measure_idle_queues() {
    local name before with after of=(publish pipeline one-in-flight)
    for _ in $(seq "$runs"); do
        for name in "${of[@]}"; do work "$name" >>"$scratch/$name.without"; done
        seq "$idle" | sed 's/^/idle-/' |
            xargs -P 8 -I{} "$quorate" queue create {} --endpoint "$(quorate_endpoints)" >/dev/null || exit 1
        for name in "${of[@]}"; do work "$name" >>"$scratch/$name.with"; done
        seq "$idle" | sed 's/^/idle-/' |
            xargs -P 8 -I{} "$quorate" queue delete {} --endpoint "$(quorate_endpoints)" >/dev/null || exit 1
        for name in "${of[@]}"; do work "$name" >>"$scratch/$name.without"; done
    done
    for name in "${of[@]}"; do
        before=$(median <"$scratch/$name.without") with=$(median <"$scratch/$name.with")
        after=$(awk -v with="$with" -v without="$before" 'BEGIN { printf "%+.1f", 100 * (with / without - 1) }')
        echo "| $idle idle queues: $name, $([[ $name == one-in-flight ]] && echo "µs" || echo "msgs/s") with them (without) | $with ($before): $after % |"
    done
}

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

start quorate || exit 1
echo "| what | figure |"
echo "|---|---|"
measure_backlog
# Another one that stays, for the restarts.
"$quorate" queue create backlog --endpoint "$(quorate_endpoints)" >/dev/null
awk -v line="$(head -c 768 /dev/urandom | base64 -w 0)" -v lines="$backlog" \
    'BEGIN { for (i = 0; i < lines; i++) print line }' |
    "$quorate" publish backlog --file - --endpoint "$(quorate_endpoints)" >/dev/null || exit 1
measure_cold
measure_restart "$(node_of_role follower)" follower
measure_restart "$(node_of_role leader)" leader
"$quorate" queue delete backlog --endpoint "$(quorate_endpoints)" >/dev/null
measure_idle_queues
