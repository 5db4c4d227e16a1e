#!/usr/bin/env bash
# Checks the policies and compiles them into bundle/guard.tar.gz.
#   build.sh           rebuilds the bundle, its source hash and the bundles of the tests
#   build.sh --check   rebuilds it in a temporary directory, and fails if any byte in it differs
# The product embeds the bundle, so building it needs no OPA.
set -euo pipefail
cd "$(dirname "$0")"

version=1.21.4
opa=${OPA:-$(command -v opa || echo "$(go env GOPATH)/bin/opa")}
if [ "$("$opa" version 2>/dev/null | sed -n 's/^Version: //p')" != "$version" ]; then
    echo "OPA $version is needed: go install github.com/open-policy-agent/opa@v$version" >&2
    exit 1
fi
coverage_min=95

"$opa" fmt --fail --list policy
"$opa" check --strict --capabilities bundle/capabilities.json --schema schema/input.json policy bundle/data.json
"$opa" test --coverage --threshold "$coverage_min" --format json policy bundle/data.json >/dev/null || {
    "$opa" test policy bundle/data.json || exit 1
    echo "less than $coverage_min % of the lines are covered:" >&2
    "$opa" test --coverage --format json policy bundle/data.json |
        python3 -c 'import json,sys
for name, file in json.load(sys.stdin)["files"].items():
    for part in file.get("not_covered", []): print(f"{name}:{part[\"start\"][\"row\"]}")' >&2
    exit 1
}

# Computes the same as bundle::source::source_hash: the hash of the list of hashes, in the order of paths.
source_hash=$({
    (cd policy && find . -name '*.rego' ! -name '*_test.rego' -exec sha256sum {} +) | sed 's|  \./|  |'
    (cd bundle && sha256sum data.json)
} | LC_ALL=C sort -k2 | sha256sum | cut -d' ' -f1)

out=.
if [ "${1:-}" = --check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    mkdir -p "$out/bundle" "$out/tests/bundles"
fi
"$opa" build --target wasm --capabilities bundle/capabilities.json --prune-unused --ignore '*_test.rego' \
    --revision "${source_hash:0:12}" --output "$out/bundle/guard.tar.gz" policy bundle/data.json
echo "$source_hash" >"$out/bundle/source.sha256"
# The engine's tests need these policies, each of which fails in its own way.
for source in tests/bundles/*.rego; do
    "$opa" build --target wasm --prune-unused --output "$out/${source%.rego}.tar.gz" "$source"
done
# OPA leaves the rules of the entrypoints out of the text that it packs. These two bundles have the whole text, from
# which it can be derived what the rules read.
for name in own misspelt; do
    unpacked=$(mktemp -d)
    tar -xzf "$out/tests/bundles/$name.tar.gz" --directory "$unpacked" --transform 's|^/||' -P
    cp "tests/bundles/$name.rego" "$unpacked/tests/bundles/$name.rego"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0600 --directory "$unpacked" -cf - \
        data.json tests/bundles/"$name".rego policy.wasm .manifest | gzip -n >"$out/tests/bundles/$name.tar.gz"
    rm -rf "$unpacked"
done
if [ "$out" != . ]; then
    cmp "$out/bundle/source.sha256" bundle/source.sha256
    # The comparison is of the unpacked bytes: the gzip of Go, with which OPA is built, differs between
    # versions (1.26 and 1.27 do).
    for bundle in bundle/guard.tar.gz tests/bundles/*.tar.gz; do
        cmp <(gzip -dc "$out/$bundle") <(gzip -dc "$bundle") || {
            echo "$bundle differs from its sources; run 'scripts/policy build'" >&2
            exit 1
        }
    done
    echo "the bundle matches its sources"
fi
