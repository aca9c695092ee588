#!/bin/bash
# Install the real engines and tools that tests compare with. What is here already stays as it is.
#
#   engines.sh packages   from the distribution (root on Debian or Ubuntu)
#   engines.sh tools      Go programs, built into .cache/bin (only where there is a go)
#   engines.sh            both
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/bin:$PATH:/usr/sbin:/sbin"
# Debian keeps the server's own programs apart, by version.
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done

say() { printf 'engines: %s\n' "$*"; }

packages() {
    local program package wanted=()
    while read -r program package; do
        command -v "$program" >/dev/null || wanted+=("$package")
    done <<'LIST'
containerd containerd
ctr containerd
debootstrap debootstrap
docker-registry docker-registry
docker docker.io
dockerd docker.io
faketime faketime
fusefat fusefat
mcopy mtools
notary notary
notary-server notary
objdump binutils
podman podman
postgres postgresql
runc runc
skopeo skopeo
strace strace
systemd-analyze systemd
umoci umoci
unshare util-linux
zstd zstd
LIST
    # PyInstaller and venv want parts of Python that Debian packs apart.
    scripts/find-python.sh --shared >/dev/null 2>&1 || wanted+=(python3 python3-venv libpython3-dev)
    if [ ${#wanted[@]} -eq 0 ]; then
        say "every package is here"
        return
    fi
    mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: ${wanted[*]}. As root on Debian or Ubuntu:" >&2
        say "  apt-get install -y --no-install-recommends ${wanted[*]}" >&2
        exit 2
    fi
    say "installing ${wanted[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # The tests start their own engines on their own sockets: installing must start none.
    local policy=/usr/sbin/policy-rc.d made=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made=$policy
    fi
    trap '[ -z "${made:-}" ] || rm -f "$made"' EXIT
    apt-get update -q </dev/null
    apt-get install -q -y --no-install-recommends "${wanted[@]}" </dev/null
}

# go version -m of a program says the very module and version it was built from.
built() { go version -m "$1" 2>/dev/null | grep -qE "^\s+(mod|dep)\s+$2\s+$3(\s|$)"; }

have() {
    local found
    found=$(command -v "$1") && built "$found" "$2" "$3"
}

install_go() { # PROGRAM MODULE VERSION PACKAGE
    local begin=$SECONDS folder
    if have "$1" "$2" "$3"; then
        say "$1 $3 is here"
        return
    fi
    say "building $1 $3"
    # Apart first: two versions of one program have one name, and nobody runs a half-written one.
    folder=$(mktemp -d "$GOBIN/.building.XXXXXX")
    GOBIN=$folder go install "$4@$3" </dev/null || { rm -rf "$folder"; return 1; }
    mv "$folder/${4##*/}" "$GOBIN/$1"
    rmdir "$folder"
    say "built $1 $3 in $((SECONDS - begin)) s"
}

# Trillian's tables come with its source, not inside its programs.
install_trillian() {
    local version=v1.8.0 module=github.com/google/trillian program
    for program in trillian_log_server trillian_log_signer; do
        install_go $program $module $version $module/cmd/$program || return 1
    done
    [ -e "$GOBIN/trillian-postgresql.sql" ] && return
    go mod download "$module@$version"
    install -m 644 "$(go env GOMODCACHE)/$module@$version/storage/postgresql/schema/storage.sql" \
        "$GOBIN/trillian-postgresql.sql"
}

# Its versions are not listed where go looks first, so it cannot be installed by name alone: a module
# that requires it can.
install_olareg() {
    local version=v0.2.2 module=github.com/olareg/olareg begin=$SECONDS folder
    if have olareg "$module" "$version"; then
        say "olareg $version is here"
        return
    fi
    folder=$(mktemp -d)
    say "building olareg $version"
    (
        cd "$folder"
        go mod init airlock.invalid/olareg
        go mod edit -require "$module@$version"
        go build -mod=mod -o "$GOBIN/olareg" "$module/cmd/olareg"
    ) </dev/null 2>"$folder/log" || { cat "$folder/log" >&2; rm -rf "$folder"; return 1; }
    rm -rf "$folder"
    say "built olareg $version in $((SECONDS - begin)) s"
}

# Published schemas of the custom resources that the loader writes; they lie in their projects' modules.
fetch_schema() { # MODULE VERSION PATH NAME
    local to=.cache/schemas/$4 folder found
    [ -s "$to" ] && { say "$4 is here"; return; }
    mkdir -p .cache/schemas
    folder=$(mktemp -d)
    found=$(cd "$folder" && go mod init airlock.invalid/schemas 2>/dev/null && go mod download -json "$1@$2" |
        sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p') || { rm -rf "$folder"; return 1; }
    rm -rf "$folder"
    install -m 644 "$found/$3" "$to" && say "fetched $4 of $1 $2"
}

schemas() {
    fetch_schema github.com/kyverno/kyverno v1.13.4 \
        config/crds/kyverno/kyverno.io_clusterpolicies.yaml kyverno.io_clusterpolicies.yaml &&
    fetch_schema github.com/sigstore/policy-controller v0.13.0 \
        config/300-clusterimagepolicy.yaml policy.sigstore.dev_clusterimagepolicies.yaml
}

tools() {
    if ! command -v go >/dev/null; then
        say "no go on PATH: olareg, regctl, crane, cosign and rekor are not built, and their tests are listed as missing"
        return
    fi
    mkdir -p .cache/bin
    export GOBIN=$PWD/.cache/bin GOTOOLCHAIN=local GOFLAGS=-trimpath CGO_ENABLED=0
    local failed=0
    install_olareg || failed=1
    install_go regctl github.com/regclient/regclient v0.11.7 github.com/regclient/regclient/cmd/regctl || failed=1
    install_go crane github.com/google/go-containerregistry v0.22.1 github.com/google/go-containerregistry/cmd/crane || failed=1
    install_go cosign github.com/sigstore/cosign/v3 v3.1.3 github.com/sigstore/cosign/v3/cmd/cosign || failed=1
    # What publishers signed with until 2025, and a Rekor of our own: what its log says is what clients got.
    install_go cosign2 github.com/sigstore/cosign/v2 v2.6.5 github.com/sigstore/cosign/v2/cmd/cosign || failed=1
    install_go rekor-server github.com/sigstore/rekor v1.5.4 github.com/sigstore/rekor/cmd/rekor-server || failed=1
    install_trillian || failed=1
    schemas || failed=1
    [ $failed = 0 ] || say "some tools could not be built; their tests are listed as missing" >&2
    return $failed
}

case ${1:-all} in
    packages) packages ;;
    tools) tools ;;
    schemas) schemas ;;
    all) packages && tools ;;
    *) say "unknown: $1" >&2; exit 2 ;;
esac
