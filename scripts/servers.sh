# Starts the servers that tests, benchmarks and demonstrations need: each by a function of its own, on a free port and in
# a folder of its own. They are ended, and their folders removed, when the script that sources this one exits. It needs
# machine.sh, which installs the servers.
# shellcheck shell=bash

# The process ids and the folders of the servers; each function adds its own.
servers=()
folders=()
postgres_data=
end_servers() {
    # Connections that a test has left do not delay the end.
    [ -z "$postgres_data" ] ||
        "${as_postgres[@]}" "$POSTGRES/pg_ctl" stop --silent --mode immediate --pgdata "$postgres_data" || true
    if [ "${#servers[@]}" != 0 ]; then
        kill "${servers[@]}" 2>/dev/null || true
        wait "${servers[@]}" 2>/dev/null || true
    fi
    [ "${#folders[@]}" = 0 ] || rm -rf "${folders[@]}"
}
trap end_servers EXIT

# start_postgres [SETTING…]: starts a PostgreSQL in a folder of its own, where each test creates a database. With
# settings (`NAME=VALUE`) it has the defaults of the server except for these. Without any it does not wait for the disk,
# because nothing of a test has to survive a power failure.
start_postgres() {
    need_postgres
    [ "$#" != 0 ] || set -- fsync=off full_page_writes=off max_connections=500
    local folder port setting settings=() _
    for setting in "$@"; do settings+=(-c "$setting"); done
    folder=$(mktemp -d)
    folders+=("$folder")
    [ "${#as_postgres[@]}" = 0 ] || chown postgres "$folder"
    "${as_postgres[@]}" "$POSTGRES/initdb" --pgdata "$folder/data" --username greenroom --auth trust --encoding UTF8 \
        --locale C --no-sync >"$folder/log" 2>&1 || fail "no PostgreSQL can be created: $(cat "$folder/log")"
    # One role needs a password, which tests do not have right.
    sed -i '1i host all greenroom_password 127.0.0.1/32 scram-sha-256' "$folder/data/pg_hba.conf"
    port=$(free_port)
    "${as_postgres[@]}" "$POSTGRES/postgres" -D "$folder/data" -h 127.0.0.1 -p "$port" -k "$folder" \
        "${settings[@]}" >>"$folder/log" 2>&1 &
    servers+=($!)
    postgres_data=$folder/data
    for _ in $(seq 300); do
        kill -0 $! 2>/dev/null || break
        if "$POSTGRES/pg_isready" --quiet --host 127.0.0.1 --port "$port"; then
            export GREENROOM_TEST_POSTGRES_URL=postgres://greenroom@127.0.0.1:$port/postgres
            return
        fi
        sleep 0.1
    done
    fail "PostgreSQL does not start: $(cat "$folder/log")"
}

# Starts a Redis in a folder of its own, which the tests share: each has keys of its own. It persists nothing.
start_redis() {
    need_redis
    local folder port
    folder=$(mktemp -d)
    folders+=("$folder")
    port=$(free_port)
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$folder" >"$folder/log" 2>&1 &
    servers+=($!)
    wait_for_port "$port" $! || fail "Redis does not start: $(cat "$folder/log")"
    export GREENROOM_TEST_REDIS_URL=redis://127.0.0.1:$port
}

# Starts an S3 server with one bucket. The variables GREENROOM_TEST_S3_* have its address, bucket and keys.
start_s3_server() {
    need_s3_server
    local folder port options
    folder=$(mktemp -d)
    folders+=("$folder")
    # A folder in `buckets` is a bucket.
    mkdir -p "$folder/buckets/greenroom-tests" "$folder/metadata"
    export GREENROOM_TEST_S3_BUCKET=greenroom-tests
    export GREENROOM_TEST_S3_ACCESS_KEY_ID=tests-access-key-id
    export GREENROOM_TEST_S3_SECRET_ACCESS_KEY=tests-secret-access-key
    # Metadata is in attributes of the files, or in files of its own where the file system has no attributes.
    for options in "" "--sidecar=$folder/metadata"; do
        port=$(free_port)
        ROOT_ACCESS_KEY_ID=$GREENROOM_TEST_S3_ACCESS_KEY_ID ROOT_SECRET_ACCESS_KEY=$GREENROOM_TEST_S3_SECRET_ACCESS_KEY \
            "$VERSITYGW" --quiet --port "127.0.0.1:$port" posix ${options:+"$options"} "$folder/buckets" >"$folder/log" 2>&1 &
        servers+=($!)
        if wait_for_port "$port" $!; then
            export GREENROOM_TEST_S3_URL=http://127.0.0.1:$port
            return
        fi
    done
    fail "the S3 server does not start: $(cat "$folder/log")"
}

# Starts a NATS with JetStream in a folder of its own, which the tests share: each has a prefix of its own. Tests that need
# another configuration start a server themselves, by the path in GREENROOM_TEST_NATS_SERVER.
start_nats() {
    need_nats_server
    local folder port
    folder=$(mktemp -d)
    folders+=("$folder")
    port=$(free_port)
    "$NATS_SERVER" --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$folder" >"$folder/log" 2>&1 &
    servers+=($!)
    wait_for_port "$port" $! || fail "NATS does not start: $(cat "$folder/log")"
    export GREENROOM_TEST_NATS_SERVER=$NATS_SERVER
    export GREENROOM_TEST_NATS_URL=nats://127.0.0.1:$port
}
