#!/usr/bin/env bash
# Build the image and see it become healthy, with whatever can build one here.
#
# Where no registry can be reached, a stand-in base is made from this machine's own Python. Run as
# root with buildah; elsewhere it is skipped on a laptop, and a failure in CI.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
    echo "image: $*" >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
}
command -v buildah >/dev/null && command -v podman >/dev/null || skip "buildah and podman are not installed"
[ "$(id -u)" = 0 ] || skip "must be root"

scratch=$(mktemp -d)
name=mailsyncd-try-$$
cleanup() {
    podman --runtime runc rm -f "$name" >/dev/null 2>&1 || true
    buildah rm --all >/dev/null 2>&1 || true
    umount -R "$scratch"/root/overlay >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap cleanup EXIT

cat >"$scratch/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$scratch/root"
runroot = "$scratch/run"
CONF
cat >"$scratch/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
export CONTAINERS_STORAGE_CONF=$scratch/storage.conf CONTAINERS_CONF=$scratch/containers.conf BUILDAH_ISOLATION=chroot

python=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
version=$(.venv/bin/python -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mmdebstrap --variant=minbase \
    --include=libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libuuid1,libncursesw6,zlib1g,ca-certificates \
    "$suite" "$scratch/base.tar" >"$scratch/base.log" 2>&1 || { tail "$scratch/base.log" >&2; skip "no base could be made"; }
tar -C "$python" --exclude=test --exclude=__pycache__ --exclude=site-packages/* -chf "$scratch/python.tar" \
    "bin/python$version" "lib/python$version" $(cd "$python" && ls lib/libpython* 2>/dev/null || true)
tar -C "$python" -chf "$scratch/pip.tar" "lib/python$version/site-packages/pip"
cat >"$scratch/Containerfile.base" <<BASE
FROM scratch
ADD base.tar /
ADD python.tar /usr/local/
ADD pip.tar /usr/local/
RUN ln -s python$version /usr/local/bin/python3 && ln -s python$version /usr/local/bin/python && ldconfig
BASE
certs=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
buildah bud -q --layers=false "${certs[@]}" -t localhost/python-base -f "$scratch/Containerfile.base" "$scratch" >/dev/null
pip_conf=()
[ -f /etc/pip.conf ] && pip_conf=(-v /etc/pip.conf:/etc/pip.conf:ro)
buildah bud -q --pull=never --format docker "${certs[@]}" "${pip_conf[@]}" --build-arg BASE=localhost/python-base \
    -t localhost/mailsyncd:try . >/dev/null

cat >"$scratch/config.toml" <<CONF
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
chmod 644 "$scratch/config.toml"
podman --runtime runc run -d --name "$name" --no-healthcheck --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 \
    --network host --read-only --cap-drop all --security-opt no-new-privileges --tmpfs /tmp \
    -v "$scratch/config.toml:/etc/mailsyncd/config.toml:ro" localhost/mailsyncd:try >/dev/null

# Nothing listens on port 9: the daemon runs, and says that it is not well. That is an answer.
status=3
for _ in $(seq 50); do
    status=0
    podman --runtime runc exec "$name" mailsyncd check --socket /run/mailsyncd/mailsyncd.sock >"$scratch/check" 2>&1 || status=$?
    [ "$status" -le 2 ] && grep -q "Gmail/ann" "$scratch/check" && break
    sleep 0.2
done
cat "$scratch/check"
[ "$status" = 1 ] || { podman logs "$name" >&2; echo "image: check exited $status, expected 1" >&2; exit 1; }
podman --runtime runc exec "$name" python -c 'import os; assert os.getuid() == 10001'
podman --runtime runc stop -t 10 "$name" >/dev/null
code=$(podman inspect -f '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || { podman logs "$name" >&2; echo "image: stopped with $code" >&2; exit 1; }
echo "image: built, ran read-only as uid 10001, answered its health check, stopped with 0"
