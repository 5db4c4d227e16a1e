# Starts the servers that tests, benchmarks and demonstrations need: each by a function of its own, on a free port and in
# a folder of its own. They are ended, and their folders removed, when the script that sources this one exits. It needs
# machine.sh, which installs the servers.
# shellcheck shell=bash

# The process ids and the folders of the servers; each function adds its own.
servers=()
folders=()
postgres_data=
# The folder of the certificates, once they are created.
certificates=
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
# because nothing of a test has to survive a power failure, and has TLS too, with the certificate of need_certificates; the
# URL demands connections without it, as those through a proxy have to be, which reads what passes.
start_postgres() {
    need_postgres
    local folder port setting settings=() has_tls= _
    if [ "$#" = 0 ]; then
        need_certificates
        has_tls=1
        set -- fsync=off full_page_writes=off max_connections=500 \
            ssl=on ssl_cert_file=server.pem ssl_key_file=server.key
    fi
    for setting in "$@"; do settings+=(-c "$setting"); done
    folder=$(mktemp -d)
    folders+=("$folder")
    [ "${#as_postgres[@]}" = 0 ] || chown postgres "$folder"
    "${as_postgres[@]}" "$POSTGRES/initdb" --pgdata "$folder/data" --username greenroom --auth trust --encoding UTF8 \
        --locale C --no-sync >"$folder/log" 2>&1 || fail "no PostgreSQL can be created: $(cat "$folder/log")"
    # One role needs a password, which tests do not have right.
    sed -i '1i host all greenroom_password 127.0.0.1/32 scram-sha-256' "$folder/data/pg_hba.conf"
    # The server reads a key only if nobody else may.
    if [ -n "$has_tls" ]; then
        cp "$certificates/server.pem" "$certificates/server.key" "$folder/data"
        chmod 600 "$folder/data/server.key"
        [ "${#as_postgres[@]}" = 0 ] || chown postgres "$folder/data/server.pem" "$folder/data/server.key"
    fi
    port=$(free_port)
    "${as_postgres[@]}" "$POSTGRES/postgres" -D "$folder/data" -h 127.0.0.1 -p "$port" -k "$folder" \
        "${settings[@]}" >>"$folder/log" 2>&1 &
    servers+=($!)
    postgres_data=$folder/data
    for _ in $(seq 300); do
        kill -0 $! 2>/dev/null || break
        if "$POSTGRES/pg_isready" --quiet --host 127.0.0.1 --port "$port"; then
            export GREENROOM_TEST_POSTGRES_URL=postgres://greenroom@127.0.0.1:$port/postgres?sslmode=disable
            return
        fi
        sleep 0.1
    done
    fail "PostgreSQL does not start: $(cat "$folder/log")"
}

# Creates two certificate authorities, and a certificate of the first one for the servers on this machine. The variables
# GREENROOM_TEST_CA_FILE and GREENROOM_TEST_OTHER_CA_FILE name the certificates of the authorities, and
# GREENROOM_TEST_SERVER_CERT_FILE and GREENROOM_TEST_SERVER_KEY_FILE the certificate and its key.
need_certificates() {
    [ -z "$certificates" ] || return 0
    need_packages openssl openssl
    certificates=$(mktemp -d)
    folders+=("$certificates")
    create_certificates >"$certificates/log" 2>&1 || fail "no certificates can be created: $(cat "$certificates/log")"
    export GREENROOM_TEST_CA_FILE=$certificates/ca.pem
    export GREENROOM_TEST_OTHER_CA_FILE=$certificates/other-ca.pem
    export GREENROOM_TEST_SERVER_CERT_FILE=$certificates/server.pem
    export GREENROOM_TEST_SERVER_KEY_FILE=$certificates/server.key
}

create_certificates() {
    local name new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    for name in ca other-ca; do
        openssl req -x509 "${new_key[@]}" -days 30 -subj "/CN=greenroom $name" \
            -keyout "$certificates/$name.key" -out "$certificates/$name.pem" || return
    done
    openssl req "${new_key[@]}" -subj /CN=localhost \
        -keyout "$certificates/server.key" -out "$certificates/server.csr" || return
    printf 'basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n' >"$certificates/server.ext"
    openssl x509 -req -days 30 -in "$certificates/server.csr" -extfile "$certificates/server.ext" \
        -CA "$certificates/ca.pem" -CAkey "$certificates/ca.key" -CAcreateserial -out "$certificates/server.pem"
}

# Starts a Redis in a folder of its own, which the tests share: each has keys of its own. It persists nothing. It listens
# with TLS too, at the address in GREENROOM_TEST_REDIS_TLS_URL.
start_redis() {
    need_redis
    need_certificates
    local folder port tls_port
    folder=$(mktemp -d)
    folders+=("$folder")
    port=$(free_port)
    tls_port=$(free_port)
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$folder" \
        --tls-port "$tls_port" --tls-auth-clients no --tls-ca-cert-file "$certificates/ca.pem" \
        --tls-cert-file "$certificates/server.pem" --tls-key-file "$certificates/server.key" >"$folder/log" 2>&1 &
    servers+=($!)
    wait_for_port "$port" $! || fail "Redis does not start: $(cat "$folder/log")"
    wait_for_port "$tls_port" $! || fail "Redis does not listen with TLS: $(cat "$folder/log")"
    export GREENROOM_TEST_REDIS_URL=redis://127.0.0.1:$port
    export GREENROOM_TEST_REDIS_TLS_URL=rediss://127.0.0.1:$tls_port
}

# Starts an S3 server with one bucket, and a second one with TLS over the same bucket. The variables GREENROOM_TEST_S3_*
# have the addresses, the bucket and the keys.
start_s3_server() {
    need_s3_server
    need_certificates
    local folder port tls_port options
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
        run_versitygw --port "127.0.0.1:$port" posix ${options:+"$options"} "$folder/buckets" >"$folder/log" 2>&1 &
        servers+=($!)
        if wait_for_port "$port" $!; then
            tls_port=$(free_port)
            run_versitygw --port "127.0.0.1:$tls_port" --cert "$certificates/server.pem" --key "$certificates/server.key" \
                posix ${options:+"$options"} "$folder/buckets" >"$folder/tls-log" 2>&1 &
            servers+=($!)
            wait_for_port "$tls_port" $! || fail "the S3 server does not start with TLS: $(cat "$folder/tls-log")"
            export GREENROOM_TEST_S3_URL=http://127.0.0.1:$port
            export GREENROOM_TEST_S3_TLS_URL=https://127.0.0.1:$tls_port
            return
        fi
    done
    fail "the S3 server does not start: $(cat "$folder/log")"
}

# Becomes the S3 server, so that the process that started it in the background is the server.
run_versitygw() {
    export ROOT_ACCESS_KEY_ID=$GREENROOM_TEST_S3_ACCESS_KEY_ID
    export ROOT_SECRET_ACCESS_KEY=$GREENROOM_TEST_S3_SECRET_ACCESS_KEY
    exec "$VERSITYGW" --quiet "$@"
}

# Starts what serves the gRPC of Qdrant, without TLS and with it; each test has collections of its own. No package registry
# has the program of Qdrant: the vendor's Python client serves (integration-tests/python/qdrant_server.py). If QDRANT_URL
# names a real server, the tests use that instead, except for those of TLS and of the API key.
start_qdrant() {
    need_test_python
    need_certificates
    local folder port tls_port
    folder=$(mktemp -d)
    folders+=("$folder")
    port=$(free_port)
    tls_port=$(free_port)
    export GREENROOM_TEST_QDRANT_KEY=tests-qdrant-key
    "$GREENROOM_TEST_PYTHON" integration-tests/python/qdrant_server.py "127.0.0.1:$port" \
        --api-key "$GREENROOM_TEST_QDRANT_KEY" --tls "127.0.0.1:$tls_port" \
        --certificate "$certificates/server.pem" --key "$certificates/server.key" >"$folder/log" 2>&1 &
    servers+=($!)
    # The vendor's packages take a few seconds to load.
    wait_for_port "$port" $! || wait_for_port "$port" $! || fail "the server of Qdrant's gRPC does not start: $(cat "$folder/log")"
    wait_for_port "$tls_port" $! || fail "the server of Qdrant's gRPC does not listen with TLS: $(cat "$folder/log")"
    export GREENROOM_TEST_QDRANT=${QDRANT_URL:-http://127.0.0.1:$port}
    export GREENROOM_TEST_QDRANT_TLS=https://127.0.0.1:$tls_port
    # The pods of other tests do not use it.
    unset QDRANT_URL
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
