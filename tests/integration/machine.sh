#!/usr/bin/env bash
# A small Debian in a directory, booted by systemd-nspawn: mailsyncd is installed as on a virtual machine,
# and a Dovecot lets anybody in. To be sourced, at the repository's root.
#
# build and boot return 1 where this machine can't; inside runs a command in it; the end is by itself.
set -euo pipefail

scratch=$(mktemp -d)
root=$scratch/root
machine=
enter=()
cleanup() {
    [ ${#enter[@]} -eq 0 ] || timeout 20 "${enter[@]}" systemctl poweroff >/dev/null 2>&1 || true
    [ -z "$machine" ] || { sleep 1; kill "$machine" 2>/dev/null || true; wait "$machine" 2>/dev/null || true; }
    rm -rf "$scratch"
}
trap cleanup EXIT

build() {
    local libraries=$scratch/lib installing
    .venv/bin/python -m pip install -qq --disable-pip-version-check --target "$libraries" \
        --require-hashes --no-deps -r requirements/run.txt &
    installing=$!
    debian || { wait "$installing"; tail "$scratch/base.log" >&2; return 1; }
    wait "$installing" || return 1
    python_of_this_machine
    mkdir -p "$root/opt/mailsyncd/bin" "$root/etc/mailsyncd/credentials"
    mv "$libraries" "$root/opt/mailsyncd/lib"
    cp -r mailsyncd "$root/opt/mailsyncd/lib/"
    cat >"$root/opt/mailsyncd/bin/mailsyncd" <<PROGRAM
#!/usr/local/bin/python3
import sys
sys.path.insert(0, "/opt/mailsyncd/lib")
from mailsyncd.cli import main
raise SystemExit(main())
PROGRAM
    chmod 755 "$root/opt/mailsyncd/bin/mailsyncd"
    cp deploy/try/common.conf "$root/etc/dovecot/"
    cp deploy/try/gmail.conf "$root/etc/dovecot/dovecot.conf"
    chroot "$root" useradd --create-home --home-dir /mail vmail
}

debian() {
    local suite
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mmdebstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,procps,dovecot-imapd,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libuuid1,libncursesw6,zlib1g \
        "$suite" "$root" >"$scratch/base.log" 2>&1 || return 1
    : >"$root/etc/machine-id"
}

python_of_this_machine() {
    local python version
    python=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
    version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # shellcheck disable=SC2046  # none, one or several
    tar -C "$python" --exclude=test --exclude=__pycache__ --exclude='site-packages/*' -chf - \
        "bin/python$version" "lib/python$version" $(cd "$python" && ls lib/libpython* 2>/dev/null || true) |
        tar -C "$root/usr/local" -xf -
    ln -sf "python$version" "$root/usr/local/bin/python3"
    chroot "$root" ldconfig
}

boot() {
    # A loopback of its own: nobody else has the ports of Dovecot and the status page there.
    systemd-nspawn -q -D "$root" --private-network --register=no --keep-unit --console=pipe -b >"$scratch/boot.log" 2>&1 </dev/null &
    machine=$!
    local init
    for _ in $(seq 50); do
        sleep 0.2
        init=$(pgrep -P "$machine" | head -n 1)
        [ -n "$init" ] || continue
        enter=(nsenter -t "$init" -m -p -n -u -i -C)
        if timeout 20 "${enter[@]}" systemctl is-system-running --wait 2>/dev/null | grep -Eq "running|degraded"; then
            return 0
        fi
    done
    enter=()
    tail -n 3 "$scratch/boot.log" >&2
    return 1
}

inside() { timeout 60 "${enter[@]}" "$@"; }
