#!/usr/bin/env bash
# The unit under a real systemd, booted in a container: start, credentials, page, reload, watchdog, crash,
# stop, and a configuration that is wrong. Needs root, systemd-container and mmdebstrap; where a
# container can't be booted it is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

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
skip() {
    echo "unit: not booted: $*" >&2
    exit 0
}
[ "$(id -u)" = 0 ] || skip "must be root"
command -v systemd-nspawn >/dev/null && command -v mmdebstrap >/dev/null || skip "needs systemd-container and mmdebstrap"

build() {
    local python version suite
    python=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')
    version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mmdebstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,procps,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libuuid1,libncursesw6,zlib1g \
        "$suite" "$root" >"$scratch/base.log" 2>&1
    : >"$root/etc/machine-id"
    # shellcheck disable=SC2046  # none, one or several
    tar -C "$python" --exclude=test --exclude=__pycache__ --exclude='site-packages/*' -chf - \
        "bin/python$version" "lib/python$version" $(cd "$python" && ls lib/libpython* 2>/dev/null || true) |
        tar -C "$root/usr/local" -xf -
    chroot "$root" ldconfig
    mkdir -p "$root/opt/mailsyncd/bin" "$root/etc/mailsyncd/credentials"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --target "$root/opt/mailsyncd/lib" \
        --require-hashes --no-deps -r requirements/run.txt
    cp -r mailsyncd "$root/opt/mailsyncd/lib/"
    cat >"$root/opt/mailsyncd/bin/mailsyncd" <<PROGRAM
#!/usr/local/bin/python$version
import sys
sys.path.insert(0, "/opt/mailsyncd/lib")
from mailsyncd.cli import main
raise SystemExit(main())
PROGRAM
    chmod 755 "$root/opt/mailsyncd/bin/mailsyncd"
    cat >"$root/etc/mailsyncd/config.toml" <<CONF
[outlook]
email = "me@outlook.example"
host = "127.0.0.1"
port = 9
tls = false
auth = "password"
password = { credential = "ms_refresh_token" }
[[routes]]
gmail = "ann@gmail.example"
folder = "Gmail/ann"
host = "127.0.0.1"
port = 9
tls = false
auth = "password"
password = { credential = "ms_refresh_token" }
CONF
    (umask 077 && printf secret >"$root/etc/mailsyncd/credentials/ms_refresh_token")
    sed 's/^#LoadCredential=/LoadCredential=/; s/^WatchdogSec=.*/WatchdogSec=3s/; s/^RestartSec=.*/RestartSec=1s/' \
        systemd/mailsyncd.service >"$root/etc/systemd/system/mailsyncd.service"
}

boot() {
    # A loopback of its own: nobody else has the port of the status page there.
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
    return 1
}

inside() { timeout 60 "${enter[@]}" "$@"; }
give_up() {
    inside journalctl -u mailsyncd --no-pager -o cat | tail -n 30 >&2
    echo "unit: $*" >&2
    exit 1
}
property() { inside systemctl show mailsyncd -p "$1" --value; }
until_it_is() { # property value
    for _ in $(seq 100); do
        [ "$(property "$1")" != "$2" ] || return 0
        sleep 0.2
    done
    give_up "$1 is $(property "$1"), not $2"
}

build || { tail "$scratch/base.log" >&2; skip "no root could be made"; }
boot || { tail -n 3 "$scratch/boot.log" >&2; skip "no container can be booted here"; }

inside systemctl start mailsyncd || give_up "did not start, though it has its credential"
until_it_is StatusText "1 routes"
answer=$(inside /opt/mailsyncd/bin/mailsyncd check --socket /run/mailsyncd/mailsyncd.sock) || true
grep -q "Gmail/ann" <<<"$answer" || give_up "does not answer: $answer"
inside "/usr/local/bin/$(cd "$root/usr/local/bin" && ls -d python3.*)" -c "from urllib.request import urlopen
assert b'<title>mailsyncd' in urlopen('http://127.0.0.1:8143/', timeout=20).read()" || give_up "shows no page"
inside systemctl reload mailsyncd || give_up "did not take the reload"
inside sh -c 'echo "nonsense = 1" >>/etc/mailsyncd/config.toml'
! inside systemctl reload mailsyncd 2>/dev/null || give_up "reloaded a broken configuration without a word"
for _ in $(seq 50); do
    answer=$(inside /opt/mailsyncd/bin/mailsyncd check --socket /run/mailsyncd/mailsyncd.sock) || true
    ! grep -q "last reload: refused" <<<"$answer" || break
    sleep 0.2
done
grep -q "last reload: refused.*nonsense" <<<"$answer" || give_up "does not tell of the broken configuration: $answer"
[ "$(property ActiveState)/$(property NRestarts)" = active/0 ] || give_up "did not outlive a broken configuration"
inside sh -c 'sed -i /nonsense/d /etc/mailsyncd/config.toml'

inside sh -c "kill -STOP $(property MainPID)"
until_it_is NRestarts 1 # the watchdog
until_it_is ActiveState active
inside sh -c "kill -KILL $(property MainPID)"
until_it_is NRestarts 2
until_it_is StatusText "1 routes"
inside systemctl stop mailsyncd
[ "$(property Result)/$(property ExecMainStatus)" = success/0 ] || give_up "did not stop well"

inside sh -c 'echo "nonsense = 1" >>/etc/mailsyncd/config.toml'
! inside systemctl start mailsyncd 2>/dev/null || give_up "started with a broken configuration"
sleep 3
[ "$(property ExecMainStatus)/$(property ActiveState)" = 78/failed ] || give_up "was started again though its configuration is wrong"
echo "unit: started, showed its page, reloaded, outlived the watchdog and a crash, stopped with 0, refused a broken configuration for good"
