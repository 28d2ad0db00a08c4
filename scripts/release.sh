#!/usr/bin/env bash
# Makes what is shipped, from a tag or from the commit that is checked out, into dist/:
#
#   scripts/release.sh                what HEAD is, as a version before the next one
#   scripts/release.sh v0.1.0         that tag, which has to be the version in Cargo.toml
#   scripts/release.sh --deb 0.1.1    only the .deb, and as that version: to try an upgrade
#   scripts/release.sh --into DIR …   elsewhere
#
#   dormouse-VERSION-ARCH-linux.tar.gz   the program, static; man pages, completions, unit, alerts, dashboard
#   dormouse_VERSION_ARCH.deb            the same as a package of Debian's
#   dormouse-VERSION-oci.tar             an image, for `skopeo copy oci-archive:…`, `podman load` or `ctr images import`
#   dormouse-VERSION.tgz                 the chart for Helm
#   dormouse-VERSION.cdx.json            what is compiled into the program (CycloneDX)
#   SHA256SUMS
#
# PROGRAM=FILE is packed instead of building one: a static program, from the same commit.
# The program is built for musl where rustup has that target, else statically with glibc. Every time in
# it is the commit's. It takes jq, dpkg-deb, and for musl the package musl-tools.
# scripts/check-release.sh tries what was made.
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "$0")")")

main() {
    local only='' version='' tag=''
    into=$root/dist
    while [[ $# -gt 0 ]]; do
        case $1 in
        --into) into=$(realpath -m "$2"); shift 2 ;;
        --deb) only=deb version=$2; shift 2 ;;
        -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; return ;;
        -*) fail "unknown option $1; --help tells those that there are" ;;
        *) tag=$1; shift ;;
        esac
    done
    for tool in jq dpkg-deb cargo git; do
        command -v "$tool" >/dev/null || fail "it needs $tool"
    done
    work=$(mktemp -d)
    on_exit 'rm -rf "$work"'
    source_of "$tag"
    local stated
    stated=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' "$source/Cargo.toml")
    if [[ -n $tag ]]; then
        [[ $tag == "v$stated" ]] || fail "the tag is $tag, and the version in its Cargo.toml $stated: it has to be v$stated"
    fi
    : "${version:=$stated$([[ -n $tag ]] || echo "~$(TZ=UTC date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$commit")}"

    say "Dormouse $version, from commit $commit"
    build
    gather
    mkdir -p "$into"
    deb "$version"
    [[ $only != deb ]] || return 0
    sbom "$version" >"$into/dormouse-$(plain "$version").cdx.json"
    archive "$tree" "$into/dormouse-$(plain "$version")-$machine-linux.tar.gz" "dormouse-$(plain "$version")"
    image "$version"
    archive "$source/packaging/helm/dormouse" "$into/dormouse-$stated.tgz" dormouse
    (cd "$into" && find . -maxdepth 1 -type f -name 'dormouse*' -printf '%f\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
    say "In $into:"
    (cd "$into" && ls -l --time-style=+ | awk 'NR > 1 { printf "%10d %s\n", $5, $6 }')
}

# source_of TAG: where the sources are, from which commit, and when that was.
source_of() {
    source=$root
    commit=$(git -C "$root" rev-parse --short=10 "${1:-HEAD}^{commit}") || fail "there is no tag $1"
    export SOURCE_DATE_EPOCH
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct "$commit")
    if [[ -n $1 ]]; then
        source=$work/source
        git -C "$root" worktree add --quiet --detach "$source" "$commit"
        on_exit 'git -C "$root" worktree remove --force "$source"'
    elif [[ -n $(git -C "$root" status --porcelain) ]]; then
        commit=$commit.changed
    fi
}

# The program, static, without the paths of this machine.
build() {
    local flags target
    machine=$(uname -m) triple=$(uname -m)-unknown-linux-musl
    if [[ -n ${PROGRAM:-} ]]; then
        program=$PROGRAM
        return
    fi
    flags="--remap-path-prefix=$source=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
    flags+=" --remap-path-prefix=$(rustc --print sysroot)=rust"
    target=$triple
    if [[ ! -e $(rustc --print sysroot)/lib/rustlib/$target ]] && ! { command -v rustup >/dev/null && rustup target add "$target"; } >&2 ||
        ! command -v musl-gcc >/dev/null; then
        say "No musl here (the target $target, and musl-gcc of the package musl-tools): static with glibc."
        target=$machine-unknown-linux-gnu
        flags+=" -C target-feature=+crt-static"
    fi
    local directory=${CARGO_TARGET_DIR:-$root/target}
    # the C in SQLite and ring has no paths of this machine, either, and no times, so that a new commit does not compile it anew
    env -u SOURCE_DATE_EPOCH "CC_${target//-/_}=$([[ $target != *musl ]] && echo cc || echo musl-gcc)" \
        "CFLAGS_${target//-/_}=-ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=cargo" \
        RUSTFLAGS="$flags" CARGO_TARGET_DIR="$directory" CARGO_PROFILE_RELEASE_STRIP=symbols \
        cargo build --quiet --release --locked --target "$target" --manifest-path "$source/Cargo.toml" \
        --package dormouse --bin dormouse --features otel >&2
    program=$directory/$target/release/dormouse
    triple=$target
}

# What both the archive and the .deb have, as a tree.
gather() {
    tree=$work/tree
    local share=$tree/share
    mkdir -p "$tree/bin" "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/vendor-completions" \
        "$share/fish/vendor_completions.d" "$share/doc/dormouse/examples" "$tree/lib/systemd/system" "$tree/etc/dormouse"
    install -m 755 "$program" "$tree/bin/dormouse"
    "$program" man "$share/man/man1" >/dev/null
    "$program" completions bash >"$share/bash-completion/completions/dormouse"
    "$program" completions zsh >"$share/zsh/vendor-completions/_dormouse"
    "$program" completions fish >"$share/fish/vendor_completions.d/dormouse.fish"
    cp "$source/packaging/dormouse.service" "$tree/lib/systemd/system/"
    cp "$source/packaging/deb/dormouse.toml" "$source/packaging/deb/dormouse.env" "$tree/etc/dormouse/"
    cp "$source"/packaging/{alerts.yml,grafana.json} "$share/doc/dormouse/examples/"
    cp "$source"/{README.md,CHANGELOG.md,LICENSE-MIT,LICENSE-APACHE} "$share/doc/dormouse/"
    find "$tree" -type f -exec chmod u=rw,go=r {} + -o -type d -exec chmod 755 {} +
    chmod 755 "$tree/bin/dormouse"
    chmod 600 "$tree/etc/dormouse/dormouse.env"
}

# deb VERSION
deb() {
    local version=$1 package=$work/deb-$1 doc file
    say "- the .deb"
    mkdir -p "$package/usr" "$package/DEBIAN"
    cp -a "$tree/etc" "$package/"
    cp -a "$tree/bin" "$tree/share" "$tree/lib" "$package/usr/"
    find "$package/usr/share/man" -type f -exec gzip -9n {} +
    doc=$package/usr/share/doc/dormouse
    # its licenses stand in the file copyright
    rm "$doc"/LICENSE-*
    { cat "$source/packaging/deb/copyright"; sed '1,4d; s/^$/./; s/^/ /' "$source/LICENSE-MIT"; } >"$doc/copyright"
    sbom "$version" | gzip -9n >"$doc/dormouse.cdx.json.gz"
    mv "$doc/CHANGELOG.md" "$doc/changelog" && gzip -9n "$doc/changelog"
    printf 'dormouse (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$version" \
        "$(maintainer)" "$(TZ=UTC LC_ALL=C date -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.Debian.gz"
    install -D -m 644 "$source/packaging/deb/lintian-overrides" "$package/usr/share/lintian/overrides/dormouse"
    chmod 644 "$doc"/*.gz "$doc/copyright"
    install -m 755 "$source"/packaging/deb/{postinst,prerm,postrm} "$package/DEBIAN/"
    printf '/etc/dormouse/dormouse.%s\n' toml env >"$package/DEBIAN/conffiles"
    (cd "$package" && find usr -type f | LC_ALL=C sort | xargs md5sum) >"$package/DEBIAN/md5sums"
    cat >"$package/DEBIAN/control" <<CONTROL
Package: dormouse
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $(maintainer)
Installed-Size: $(du -sk --apparent-size "$package/usr" "$package/etc" | awk '{ sum += $1 } END { print sum }')
Depends: adduser
Recommends: ca-certificates
Suggests: rabbitmq-server
Section: net
Priority: optional
Description: delayed delivery for RabbitMQ
 A message with one header sleeps in the durable queues of a stock RabbitMQ and
 arrives at its millisecond, never early, after minutes or months. This is the
 worker, which needs no plugin and no database, with its HTTP API, its console
 and its commands.
CONTROL
    chmod 644 "$package"/DEBIAN/{conffiles,md5sums,control}
    find "$package" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
    # one to try an upgrade with is packed quickly
    dpkg-deb --root-owner-group -Zxz "-z$([[ $only == deb ]] && echo 0 || echo 6)" --build "$package" "$into/dormouse_${version}_$(dpkg --print-architecture).deb" >/dev/null
}

maintainer() { echo "${MAINTAINER:-The Dormouse developers <dormouse@users.noreply.github.com>}"; }

# sbom VERSION: CycloneDX to standard output.
sbom() {
    local sum
    sum=$(sha256sum <"$program" | cut -c 1-32)
    jq --sort-keys --rawfile lock "$source/Cargo.lock" --arg version "$1" \
        --arg time "$(TZ=UTC date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
        --arg serial "${sum:0:8}-${sum:8:4}-4${sum:13:3}-8${sum:17:3}-${sum:20:12}" \
        --arg linked "$(linked)" --from-file "$source/packaging/sbom.jq" \
        <(cargo metadata --locked --format-version 1 --manifest-path "$source/Cargo.toml" --filter-platform "$triple")
}

# NAME VERSION of each crate that is compiled for the program, without what only tests need.
linked() {
    cargo tree --quiet --locked --manifest-path "$source/Cargo.toml" --package dormouse --features otel \
        --target "$triple" --edges normal,build --prefix none --format '{p}' | awk '{ print $1, substr($2, 2) }' | LC_ALL=C sort -u
}

# archive FOLDER FILE NAME: as a .tar.gz, in which the folder has that name.
archive() {
    packed "$1" --transform "s,^\.,$3," | gzip -9n >"$2"
}

# packed FOLDER OPTIONS...: tar with the same bytes each time.
packed() {
    tar --directory "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner --owner=0 --group=0 \
        --format=gnu --create "${@:2}" .
}

# image VERSION: one layer of as little as there can be, described by hand, which takes no daemon.
image() {
    local version=$1 layer=$work/layer blobs=$work/oci/blobs/sha256 architecture
    say "- the image"
    # as no user of the host: 10001
    mkdir -p "$layer"/{etc/ssl/certs,etc/dormouse,tmp,usr/bin,var/lib/dormouse} "$blobs"
    install -m 755 "$program" "$layer/usr/bin/dormouse"
    install -m 644 /etc/ssl/certs/ca-certificates.crt "$layer/etc/ssl/certs/"
    echo 'dormouse:x:10001:10001::/var/lib/dormouse:/usr/sbin/nologin' >"$layer/etc/passwd"
    echo 'dormouse:x:10001:' >"$layer/etc/group"
    echo 'hosts: files dns' >"$layer/etc/nsswitch.conf"
    chmod -R u=rwX,go=rX "$layer"
    chmod 1777 "$layer/tmp"
    # two pieces: the directory of the user's own has another owner than all else
    tar --directory "$layer" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner --format=gnu --create --file "$work/layer.tar" \
        --owner=0 --group=0 --exclude=./var/lib/dormouse .
    tar --directory "$layer" --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner --format=gnu --append --file "$work/layer.tar" \
        --owner=10001 --group=10001 ./var/lib/dormouse
    architecture=$(dpkg --print-architecture)
    local layer_digest config manifest
    layer_digest=$(sha256sum <"$work/layer.tar" | cut -d ' ' -f 1)
    config=$(jq --null-input --compact-output --sort-keys --arg architecture "$architecture" --arg layer "sha256:$layer_digest" \
        --arg time "$(TZ=UTC date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" --arg version "$version" --arg commit "$commit" '{
          created: $time, architecture: $architecture, os: "linux",
          config: {
            User: "10001:10001", WorkingDir: "/", Entrypoint: ["/usr/bin/dormouse"], Cmd: ["run"], StopSignal: "SIGTERM",
            Env: ["PATH=/usr/bin", "DORMOUSE_HTTP_LISTEN=0.0.0.0:15790", "DORMOUSE_API_LISTEN=0.0.0.0:15791"],
            ExposedPorts: { "15790/tcp": {}, "15791/tcp": {} },
            Labels: { "org.opencontainers.image.title": "dormouse", "org.opencontainers.image.version": $version,
              "org.opencontainers.image.revision": $commit, "org.opencontainers.image.licenses": "MIT OR Apache-2.0" }
          },
          rootfs: { type: "layers", diff_ids: [$layer] },
          history: [{ created: $time, created_by: "scripts/release.sh" }]
        }')
    gzip -9n <"$work/layer.tar" >"$work/layer.tar.gz"
    manifest=$(jq --null-input --compact-output --sort-keys \
        --argjson layer "$(blob application/vnd.oci.image.layer.v1.tar+gzip <"$work/layer.tar.gz")" \
        --argjson config "$(blob application/vnd.oci.image.config.v1+json <<<"$config")" \
        '{ schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: [$layer] }')
    jq --null-input --compact-output --sort-keys --argjson manifest "$(blob application/vnd.oci.image.manifest.v1+json <<<"$manifest")" \
        --arg architecture "$architecture" --arg version "$(plain "$version")" '{
          schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
          manifests: [$manifest + { platform: { os: "linux", architecture: $architecture },
            annotations: { "org.opencontainers.image.ref.name": $version } }]
        }' >"$work/oci/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci/oci-layout"
    chmod -R u=rwX,go=rX "$work/oci"
    packed "$work/oci" >"$into/dormouse-$(plain "$version")-oci.tar"
}

# blob TYPE: standard input goes among the blobs; out comes its descriptor.
blob() {
    cat >"$work/blob"
    local digest
    digest=$(sha256sum <"$work/blob" | cut -d ' ' -f 1)
    jq --null-input --compact-output --arg type "$1" --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$work/blob")" \
        '{ mediaType: $type, digest: $digest, size: $size }'
    mv "$work/blob" "$work/oci/blobs/sha256/$digest"
}

# A version in a file's name, and in a reference of an image, has no tilde.
plain() { echo "${1//\~/-}"; }

say() { echo "$*"; }
fail() { echo "release: $*" >&2; exit 1; }
cleanups=()
on_exit() { cleanups+=("$1"); }
clean_up() {
    local number
    for ((number = ${#cleanups[@]} - 1; number >= 0; number--)); do eval "${cleanups[number]}"; done
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

main "$@"
