# Starts the servers that tests, benchmarks and demonstrations need: each by a function of its own, on a free port and in
# a folder of its own. They are ended, and their folders removed, when the script that sources this one exits. It needs
# machine.sh, which installs the servers.
# shellcheck shell=bash

# The process ids and the folders of the servers; each function adds its own.
servers=()
folders=()
end_servers() {
    if [ "${#servers[@]}" != 0 ]; then
        kill "${servers[@]}" 2>/dev/null || true
        wait "${servers[@]}" 2>/dev/null || true
    fi
    [ "${#folders[@]}" = 0 ] || rm -rf "${folders[@]}"
}
trap end_servers EXIT

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
