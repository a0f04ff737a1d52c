# Starts and stops clusters of three nodes on loopback. Sourced by compare.sh, which sets $scratch, $quorate and $bench.
#
# Every broker has three functions: NAME_needs prints what is missing, NAME_start makes a new cluster below
# $scratch/NAME and waits until it serves, NAME_nodes prints the addresses for clients. Process ids of the servers are in
# $scratch/NAME/nN.pid.
# shellcheck shell=bash disable=SC2154

# Ports below the range that the system gives to outgoing connections.
readonly quorate_port=27400 rabbitmq_port=27500 nats_port=27600

say() { printf '%s\n' "$*" >&2; }

# spawn BROKER N COMMAND...: a process of its own session, so that an interrupt of the script reaches it through stop only.
spawn() {
    local dir=$scratch/$1 node=$2
    shift 2
    setsid "$@" >>"$dir/n$node.out" 2>&1 </dev/null &
    echo $! >"$dir/n$node.pid"
    disown
}

# Of the three servers, in the order of their names.
pids() { echo "$(<"$scratch/$1/n1.pid"),$(<"$scratch/$1/n2.pid"),$(<"$scratch/$1/n3.pid")"; }

port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || return 1
        sleep 0.2
    done
}

start() {
    local broker=$1 port
    mkdir -p "$scratch/$broker"
    for port in $("${broker}_nodes" | tr , ' '); do
        if port_is_open "${port#*:}"; then
            say "port ${port#*:} is taken: stop what listens there"
            return 1
        fi
    done
    "${broker}_start" && return
    say "$broker did not start; the end of what its first node said:"
    tail -n 5 "$scratch/$broker/n1.out" >&2
    return 1
}

# stop BROKER: asks every process to end, kills what still runs after 15 s, and removes the data.
stop() {
    local dir=$scratch/$1 file pid
    for file in "$dir"/*.pid; do
        [[ -f $file ]] && kill -TERM "$(<"$file")" 2>/dev/null && kill -CONT "$(<"$file")" 2>/dev/null
    done
    for file in "$dir"/*.pid; do
        [[ -f $file ]] || continue
        pid=$(<"$file")
        wait_for 15 gone "$pid" || kill -KILL "$pid" 2>/dev/null
        rm -f "$file"
    done
    # A process that was killed may still be closing its files.
    wait_for 10 rm -rf "$dir"
}

gone() { ! kill -0 "$1"; }

# --- Quorate

quorate_needs() { [[ -x $quorate ]] || echo "$quorate (cargo build --release -p quorate-node)"; }

quorate_nodes() { echo "127.0.0.1:$quorate_port,127.0.0.1:$((quorate_port + 10)),127.0.0.1:$((quorate_port + 20))"; }

quorate_start() {
    local i
    for i in 1 2 3; do
        quorate_node "$i"
    done
    wait_for 60 quorate_serves
}

# quorate_node N: starts it, the first time or again.
quorate_node() {
    local i=$1 port=$((quorate_port + 10 * ($1 - 1))) members
    members=n1=127.0.0.1:$((quorate_port + 1)),n2=127.0.0.1:$((quorate_port + 11)),n3=127.0.0.1:$((quorate_port + 21))
    spawn quorate "$i" "$quorate" serve --name "n$i" --data-dir "$scratch/quorate/n$i" \
        --client-addr "127.0.0.1:$port" --peer-addr "127.0.0.1:$((port + 1))" \
        --http-addr "127.0.0.1:$((port + 2))" --bootstrap "$members"
}

quorate_serves() {
    "$quorate" cluster status -o json --timeout 2s --endpoint "$(quorate_endpoints)" |
        jq -es '([.[].role] | sort) == ["follower", "follower", "leader"]'
}

quorate_endpoints() { quorate_nodes | sed 's|127|http://127|g'; }

# --- RabbitMQ

rabbitmq_sbin() { compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin' | tail -n 1; }

rabbitmq_needs() { [[ -n $(rabbitmq_sbin) ]] || echo "rabbitmq-server"; }

rabbitmq_nodes() { echo "127.0.0.1:$rabbitmq_port,127.0.0.1:$((rabbitmq_port + 1)),127.0.0.1:$((rabbitmq_port + 2))"; }

# Its own home for the cluster's cookie, and its own name server, so that a RabbitMQ of the machine is left alone.
rabbitmq_environment() {
    export HOME=$scratch/rabbitmq/home ERL_EPMD_PORT=$((rabbitmq_port + 9)) ERL_EPMD_ADDRESS=127.0.0.1
    export RABBITMQ_CONF_ENV_FILE=/dev/null
}

rabbitmq_start() {
    local i dir=$scratch/rabbitmq
    mkdir -p "$dir/home"
    (umask 077 && echo quoratecompare >"$dir/home/.erlang.cookie")
    chmod 400 "$dir/home/.erlang.cookie"
    (
        rabbitmq_environment
        spawn rabbitmq 0 epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1
    )
    for i in 1 2 3; do
        rabbitmq_node "$i"
    done
    wait_for 120 rabbitmq_serves || return 1
    # What was started is a shell; the server wrote its own process id.
    for i in 1 2 3; do
        cp "$dir/server$i.pid" "$dir/n$i.pid"
    done
}

rabbitmq_node() {
    local i=$1 dir=$scratch/rabbitmq
    cat >"$dir/n$i.conf" <<END
listeners.tcp.1 = 127.0.0.1:$((rabbitmq_port + i - 1))
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = rb1@localhost
cluster_formation.classic_config.nodes.2 = rb2@localhost
cluster_formation.classic_config.nodes.3 = rb3@localhost
cluster_partition_handling = pause_minority
vm_memory_high_watermark.absolute = 4GB
disk_free_limit.absolute = 1GB
log.file.level = warning
END
    echo '[].' >"$dir/n$i.plugins"
    (
        rabbitmq_environment
        export RABBITMQ_NODENAME=rb$i@localhost RABBITMQ_NODE_PORT=$((rabbitmq_port + i - 1))
        export RABBITMQ_DIST_PORT=$((rabbitmq_port + 10 + i)) RABBITMQ_CONFIG_FILE=$dir/n$i.conf
        export RABBITMQ_MNESIA_BASE=$dir/n$i RABBITMQ_LOG_BASE=$dir/log$i RABBITMQ_PID_FILE=$dir/server$i.pid
        export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/n$i.plugins RABBITMQ_FEATURE_FLAGS_FILE=$dir/n$i.flags
        export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
        spawn rabbitmq "$i" "$(rabbitmq_sbin)/rabbitmq-server"
    )
}

rabbitmq_serves() (
    rabbitmq_environment
    status=$("$(rabbitmq_sbin)/rabbitmqctl" -q -n rb1@localhost cluster_status --formatter json) || exit 1
    jq -e '.running_nodes | length == 3' <<<"$status"
)

# --- NATS

nats_needs() { command -v nats-server >/dev/null || echo "nats-server"; }

nats_nodes() { echo "127.0.0.1:$nats_port,127.0.0.1:$((nats_port + 1)),127.0.0.1:$((nats_port + 2))"; }

nats_start() {
    local i dir=$scratch/nats routes
    routes="nats://127.0.0.1:$((nats_port + 11)), nats://127.0.0.1:$((nats_port + 12)), nats://127.0.0.1:$((nats_port + 13))"
    for i in 1 2 3; do
        cat >"$dir/n$i.conf" <<END
server_name: n$i
listen: 127.0.0.1:$((nats_port + i - 1))
jetstream { store_dir: "$dir/n$i", max_mem: 1G, max_file: 40G }
cluster { name: compare, listen: 127.0.0.1:$((nats_port + 10 + i)), routes: [ $routes ] }
END
        spawn nats "$i" nats-server -c "$dir/n$i.conf"
    done
    for i in 0 1 2; do
        wait_for 30 port_is_open $((nats_port + i)) || return 1
    done
}
