#!/bin/sh
# Installs the program of a release: it downloads the archive for this machine, compares its checksum, and copies the program.
#
#   sh install.sh              the newest release, into ~/.local/bin
#   sh install.sh 0.1.0 DIR    this release, into this folder
#
# It needs curl or wget, tar and sha256sum, and no root.
set -eu

repository=${GREENROOM_REPOSITORY:-greenroom/greenroom}
version=${1:-latest}
folder=${2:-${HOME}/.local/bin}

fail() {
    printf 'install.sh: %s\n' "$1" >&2
    exit 1
}

fetch() {
    if command -v curl >/dev/null 2>&1; then
        curl --fail --silent --show-error --location --proto '=https' --output "$2" "$1"
    elif command -v wget >/dev/null 2>&1; then
        wget --quiet --https-only --output-document "$2" "$1"
    else
        fail "neither curl nor wget is installed"
    fi
}

[ "$(uname -s)" = Linux ] || fail "there is no program for $(uname -s); use a container, or build it with cargo"
machine=$(uname -m)
case $machine in
    x86_64 | aarch64) ;;
    arm64) machine=aarch64 ;;
    *) fail "there is no program for $machine; build it with cargo" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

base=https://github.com/$repository/releases
if [ "$version" = latest ]; then
    fetch "$base/latest/download/VERSION" "$work/VERSION"
    version=$(cat "$work/VERSION")
fi
case $version in
    '' | *[!0-9A-Za-z.+-]*) fail "'$version' is no version" ;;
esac

archive=greenroom-$version-$machine-linux.tar.gz
fetch "$base/download/v$version/$archive" "$work/$archive"
fetch "$base/download/v$version/SHA256SUMS" "$work/SHA256SUMS"
(cd "$work" && grep -F "  $archive" SHA256SUMS | sha256sum -c >/dev/null 2>&1) \
    || fail "the checksum of $archive is wrong; nothing was installed"
tar -xzf "$work/$archive" -C "$work" greenroom
mkdir -p "$folder"
install -m 0755 "$work/greenroom" "$folder/greenroom"
"$folder/greenroom" --version >/dev/null 2>&1 \
    || fail "the program in $folder does not start: it needs glibc 2.35 or later; use a container, or build it with cargo"
printf 'greenroom %s is in %s\n' "$version" "$folder"
case :$PATH: in
    *:"$folder":*) ;;
    *) printf 'add it to your path: export PATH="%s:$PATH"\n' "$folder" ;;
esac
