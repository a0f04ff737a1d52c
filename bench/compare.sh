#!/usr/bin/env bash
# Measures Quorate, RabbitMQ quorum queues and NATS JetStream side by side. bench/README.md says what the figures mean.
set -uo pipefail

usage() {
    cat <<END
usage: bench/compare.sh [--runs 5] [--seconds 10] [--peers quorate,rabbitmq,nats] [--only ROW]

ROW: $(printf '%s ' "${rows[@]}")
Works below \${TMPDIR:-/var/tmp}, which should be on a real disk. QUORATE names another binary than target/release/quorate.
END
}

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
quorate=${QUORATE:-$bench/../target/release/quorate}
generator=$bench/rivals/target/release/quorate-rivals
# What measures single messages comes first, before a broker is busy with the remains of full loads; what harms the
# cluster comes last.
rows=(one-in-flight pipeline-2000 pipeline publish-100 publish-1k publish-16k drain kill-leader silent-leader)
runs=5 seconds=10 peers=quorate,rabbitmq,nats only=

# shellcheck source=bench/servers.sh
source "$bench/servers.sh"

# What the generator is asked for in a row.
generator_arguments() {
    case $1 in
    one-in-flight) echo publish --producers 1 --window 1 ;;
    pipeline-2000) echo pipeline --producers 8 --consumers 8 --rate 2000 ;;
    pipeline) echo pipeline --producers 8 --consumers 8 ;;
    publish-100) echo publish --size 100 ;;
    publish-1k) echo publish --size 1024 ;;
    publish-16k) echo publish --size 16384 ;;
    drain) echo drain --messages "$backlog" ;;
    kill-leader) echo gap ;;
    silent-leader) echo silence ;;
    esac
}

# The same for `quorate bench`, where it knows the work: the cross check.
cross_check_arguments() {
    case $1 in
    one-in-flight) echo publish --producers 1 --window 1 ;;
    pipeline-2000) echo pipeline --producers 8 --consumers 8 --rate 2000 ;;
    pipeline) echo pipeline --producers 8 --consumers 8 ;;
    publish-100) echo publish --producers 16 --size 100 ;;
    publish-1k) echo publish --producers 16 --size 1KiB ;;
    publish-16k) echo publish --producers 16 --size 16KiB ;;
    drain) "$quorate" bench receive --help 2>&1 | grep -q -- --messages && echo receive --messages "$backlog" ;;
    esac
}

read_arguments() {
    while (($#)); do
        case $1 in
        --runs | --seconds | --peers | --only)
            [[ -n ${2:-} ]] || { usage >&2; exit 2; }
            declare -g "${1#--}=$2"
            shift 2
            ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
        esac
    done
    [[ $runs =~ ^[1-9][0-9]*$ && $seconds =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }
    if [[ -n $only ]]; then
        [[ " ${rows[*]} " == *" $only "* ]] || { usage >&2; exit 2; }
        rows=("$only")
    fi
}

# Leaves in $present the brokers that can be measured.
find_peers() {
    local peer missing absent=0
    present=()
    for peer in ${peers//,/ }; do
        [[ " quorate rabbitmq nats " == *" $peer "* ]] || { usage >&2; exit 2; }
        missing=$("${peer}_needs")
        if [[ -z $missing ]]; then
            present+=("$peer")
        else
            say "skipping $peer, since this is missing: $missing"
            [[ $peer == quorate ]] || absent=1
        fi
    done
    if ((absent)); then
        say "on Debian: apt-get install --no-install-recommends rabbitmq-server nats-server jq"
        say "(these packages start services; stop them: systemctl disable --now rabbitmq-server nats-server)"
    fi
    ((${#present[@]})) || exit 1
}

prepare() {
    local tool kind free
    for tool in jq cargo setsid timeout; do
        command -v $tool >/dev/null || { say "$tool is missing: apt-get install --no-install-recommends $tool"; exit 1; }
    done
    cargo build --release --quiet --manifest-path "$bench/rivals/Cargo.toml" || exit 1
    scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/quorate-compare.XXXXXX") || exit 1
    trap clean EXIT
    trap 'exit 130' INT TERM HUP
    kind=$(stat -f -c %T "$scratch")
    [[ $kind != tmpfs && $kind != ramfs ]] || say "WARNING: $scratch is in memory; syncing costs nothing there"
    free=$(df --output=avail -BG "$scratch" | tail -n 1 | tr -dc 0-9)
    ((free >= 4 * seconds)) || say "WARNING: only $free GiB free below $scratch; full loads may fill it"
    mkdir -p "$bench/results"
    results=$bench/results/$(date +%Y%m%d-%H%M%S).jsonl
}

clean() {
    local peer
    for peer in quorate rabbitmq nats; do
        [[ -d $scratch/$peer ]] && stop "$peer"
    done
    rm -rf "$scratch"
}

# record BROKER ROW RUN SOURCE COMMAND...: one line of results, also of a run that failed.
record() {
    local broker=$1 row=$2 run=$3 source=$4 line
    shift 4
    line=$(timeout --foreground -k 5 $((limit + 20)) "$@" 2>"$scratch/said" </dev/null | tail -n 1)
    jq -e . >/dev/null 2>&1 <<<"${line:-x}" || line=$(jq -cn --arg said "$(tail -n 3 "$scratch/said")" '{failed: $said}')
    jq -c --arg broker "$broker" --arg row "$row" --argjson run "$run" --arg source "$source" \
        '. + {broker: $broker, row: $row, run: $run, source: $source}' <<<"$line" >>"$results"
    jq -r '"  \(.broker) \(.row) (\(.source)): \(.failed // if .gap_ms then "\(.gap_ms) ms" else "\(.msgs_per_second)/s" end)"' \
        < <(tail -n 1 "$results") >&2
}

# measure BROKER RUN: every row, on a new cluster that ends with the first leader that is taken from it.
measure() {
    local broker=$1 run=$2 row arguments
    say "run $run of $runs: $broker"
    start "$broker" || { stop "$broker"; return; }
    for row in "${rows[@]}"; do
        if [[ $row == silent-leader && $row != "${rows[0]}" ]]; then
            stop "$broker"
            start "$broker" || { stop "$broker"; return; }
        fi
        read -ra arguments < <(generator_arguments "$row")
        record "$broker" "$row" "$run" rivals "$generator" "${arguments[@]}" --broker "$broker" \
            --nodes "$("${broker}_nodes")" --pids "$(pids "$broker")" --seconds "$seconds" --limit "$limit"
        sleep 1
        read -ra arguments < <([[ $broker == quorate ]] && cross_check_arguments "$row")
        if ((${#arguments[@]})); then
            record "$broker" "$row" "$run" bench "$quorate" bench "${arguments[@]}" --seconds "$seconds" \
                --endpoint "$(quorate_endpoints)" -o json
            sleep 1
        fi
    done
    stop "$broker"
}

about() {
    echo
    echo "$(date +%F), $(nproc) cores, $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)," \
        "Linux $(uname -r), $(stat -f -c %T "$scratch"). $runs × $seconds s a row, servers and load on this machine."
    echo
    for peer in "${present[@]}"; do
        case $peer in
        quorate) echo "* quorate: $("$quorate" --version), sources at $(git -C "$bench" describe --always --dirty 2>/dev/null)" ;;
        rabbitmq) echo "* rabbitmq: $(rabbitmq_sbin | grep -o 'server-[^/]*'), quorum queue of 3 members" ;;
        nats) echo "* nats: $(nats-server --version 2>&1), file stream R3, which syncs its files every 2 minutes and not before a confirmation" ;;
        esac
    done
    echo
}

read_arguments "$@"
# A backlog that a slow broker still takes within a few rows' time, and that a fast one does not take in a moment.
backlog=$((50000 * seconds)) limit=$((120 + 6 * seconds))
find_peers
prepare
for run in $(seq "$runs"); do
    for peer in "${present[@]}"; do
        measure "$peer" "$run"
    done
done
about
[[ -s $results ]] && jq -rs --arg peers "${present[*]}" -f "$bench/tables.jq" "$results"
say "raw figures: $results"
