#!/usr/bin/env bash
# Build the image and see it live: read-only, without rights, answering its health check, stopping well.
#
# With docker where there is one, on the image's own base. Else as root with buildah and podman, on
# a stand-in base made from this machine's own Python, so that no image registry is needed. Where
# neither will do it is skipped on a laptop, and by root in CI it fails.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=mailsyncd:try
name=mailsyncd-try-$$
socket=/run/mailsyncd/mailsyncd.sock
engine=()
more=()
scratch=$(mktemp -d)
cleanup() {
    [ ${#engine[@]} -eq 0 ] || "${engine[@]}" rm -f "$name" >/dev/null 2>&1 || true
    umount -R "$scratch/root/overlay" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap cleanup EXIT

skip() {
    echo "image: not built: $*" >&2
    [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ] || exit 1
    exit 0
}

storage_of_its_own() {
    cat >"$scratch/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$scratch/root"
runroot = "$scratch/run"
CONF
    # The limits are for machines where root may not raise its own.
    cat >"$scratch/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
    export CONTAINERS_STORAGE_CONF=$scratch/storage.conf CONTAINERS_CONF=$scratch/containers.conf
    export BUILDAH_ISOLATION=chroot
}

stand_in_base() {
    local python version suite
    python=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
    version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # shellcheck disable=SC1091  # it is on every Debian
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mmdebstrap --variant=minbase \
        --include=libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libuuid1,libncursesw6,zlib1g,ca-certificates \
        "$suite" "$scratch/base.tar" >"$scratch/base.log" 2>&1 || { tail "$scratch/base.log" >&2; return 1; }
    mkdir -p "$scratch/python/bin" "$scratch/python/lib"
    cp "$python/bin/python$version" "$scratch/python/bin/"
    tar -C "$python/lib" --exclude=test --exclude=__pycache__ --exclude='config-*' --exclude='site-packages/*' \
        -chf - "python$version" | tar -C "$scratch/python/lib" -xf -
    cp -R "$python/lib/python$version/site-packages/pip" "$scratch/python/lib/python$version/site-packages/"
    find "$python/lib" -maxdepth 1 -name 'libpython*.so*' -exec cp {} "$scratch/python/lib/" \;
    # As in the base that it stands in for.
    ! command -v strip >/dev/null || find "$scratch/python" -name '*.so*' -exec strip {} + 2>/dev/null || true
    cat >"$scratch/Containerfile" <<BASE
FROM scratch
ADD base.tar /
ADD python /usr/local/
RUN ln -s python$version /usr/local/bin/python3 && ln -s python$version /usr/local/bin/python && ldconfig
BASE
    buildah --log-level=error bud -q --layers=false -t localhost/python-base -f "$scratch/Containerfile" "$scratch" >/dev/null
}

if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    engine=(docker)
    docker build -q -t "$image" . >/dev/null
elif [ "$(id -u)" = 0 ] && command -v buildah >/dev/null && command -v podman >/dev/null && command -v mmdebstrap >/dev/null; then
    engine=(podman --log-level=error --runtime runc)
    # Its health check timers need a running systemd; the check's command is run below all the same.
    more=(--no-healthcheck --ulimit nofile=4096:4096 --ulimit nproc=4096:4096)
    storage_of_its_own
    stand_in_base || skip "no base could be made"
    mine=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
    [ ! -f /etc/pip.conf ] || mine+=(-v /etc/pip.conf:/etc/pip.conf:ro)
    buildah --log-level=error bud -q --pull=never --format docker "${mine[@]}" \
        --build-arg BASE=localhost/python-base -t "$image" . >/dev/null
else
    skip "needs docker, or root with buildah, podman, runc and mmdebstrap"
fi

cat >"$scratch/config.toml" <<CONF
http = { listen = "off" } # it is in the host's network
[outlook]
email = "me@outlook.example"
host = "127.0.0.1"
port = 9
tls = false
auth = "password"
password = "x"
[[routes]]
gmail = "ann@gmail.example"
folder = "Gmail/ann"
host = "127.0.0.1"
port = 9
tls = false
auth = "password"
password = "x"
CONF
chmod 755 "$scratch" && chmod 644 "$scratch/config.toml"
"${engine[@]}" run -d --name "$name" --network host --read-only --cap-drop ALL \
    --security-opt no-new-privileges "${more[@]}" \
    -v "$scratch/config.toml:/etc/mailsyncd/config.toml:ro" "$image" >/dev/null

give_up() {
    "${engine[@]}" logs "$name" >&2
    echo "image: $*" >&2
    exit 1
}

# Nothing listens on port 9: the daemon runs, and says that it is not well. That is an answer.
status=3
for _ in $(seq 100); do
    [ "$("${engine[@]}" inspect -f '{{.State.Running}}' "$name")" = true ] || give_up "the daemon ended by itself"
    status=0
    "${engine[@]}" exec "$name" mailsyncd check --socket "$socket" >"$scratch/check" 2>&1 || status=$?
    ! grep -q "Gmail/ann" "$scratch/check" || break
    sleep 0.2
done
cat "$scratch/check"
[ "$status" = 1 ] || give_up "check exited with $status instead of 1 (degraded)"
healthcheck=$("${engine[@]}" image inspect -f '{{index .Config.Healthcheck.Test 1}}' "$image")
"${engine[@]}" exec "$name" sh -c "$healthcheck" >/dev/null || give_up "is unhealthy"
"${engine[@]}" exec "$name" python -c 'import os; assert os.getuid() == 10001' || give_up "runs as another user"
! "${engine[@]}" exec "$name" python -c 'import pip' 2>/dev/null || give_up "has pip in it"
"${engine[@]}" stop -t 10 "$name" >/dev/null
code=$("${engine[@]}" inspect -f '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || give_up "stopped with $code"
size=$("${engine[@]}" image inspect -f '{{.Size}}' "$image")
[ "$size" -lt 150000000 ] || give_up "has $size bytes: 150 MB are allowed"
echo "image: built with ${engine[0]}, $((size / 1000000)) MB, ran read-only as uid 10001, answered its health check, stopped with 0"
