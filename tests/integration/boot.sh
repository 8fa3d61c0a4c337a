#!/usr/bin/env bash
# The units under a real systemd, booted in a container, with mail that goes through them: the daemon's whole
# life, an instance of the template beside it, and run-once by its timer. Needs root, systemd-container and
# mmdebstrap; where a container can't be booted it is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
    echo "unit: not booted: $*" >&2
    exit 0
}
[ "$(id -u)" = 0 ] || skip "must be root"
command -v systemd-nspawn >/dev/null && command -v mmdebstrap >/dev/null || skip "needs systemd-container and mmdebstrap"
# shellcheck source=tests/integration/machine.sh
. tests/integration/machine.sh

unit=mailsyncd
give_up() {
    inside journalctl -u "$unit" --no-pager -o cat | tail -n 30 >&2
    echo "unit: $unit: $*" >&2
    exit 1
}
property() { inside systemctl show "$unit" -p "$1" --value; }
until_so() { # seconds, what is waited for, command
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt "$end" ] || give_up "$what"
        sleep 0.2
    done
}
is() { [ "$(property "$1")" = "$2" ]; }
until_it_is() { until_so 20 "$1 is not $2" is "$1" "$2"; }

configuration() { # account, port of the page
    cat <<CONF
http = { listen = "127.0.0.1:$2" }
[outlook]
email = "me@outlook.example"
host = "127.0.0.1"
port = 1143
tls = false
auth = "password"
password = { credential = "ms_refresh_token" }
[[routes]]
gmail = "$1@gmail.example"
folder = "Gmail/$1"
start = "all"
host = "127.0.0.1"
port = 1143
tls = false
auth = "password"
password = { credential = "ms_refresh_token" }
CONF
}
install_units() {
    local file secrets=$root/etc/mailsyncd/credentials
    configuration ann 8143 >"$root/etc/mailsyncd/config.toml"
    configuration bob 8144 >"$root/etc/mailsyncd/work.toml"
    (umask 077 && mkdir "$secrets/work" && printf pw | tee "$secrets/work/ms_refresh_token" >"$secrets/ms_refresh_token")
    for file in systemd/*; do
        sed 's/^#LoadCredential=/LoadCredential=/; s/^WatchdogSec=.*/WatchdogSec=3s/; s/^RestartSec=.*/RestartSec=1s/' \
            "$file" >"$root/etc/systemd/system/${file#systemd/}"
    done
}
deliver() { printf 'Subject: hello\n\nhello\n' | inside doveadm save -u "$1@gmail.example"; }
holds() { # account, how many
    [ "$(inside doveadm -f flow mailbox status -u me@outlook.example messages "Gmail/$1" 2>/dev/null)" = "Gmail/$1 messages=$2" ]
}
# Well below the minute for which the lease of a daemon of which nothing is known has to be waited out.
until_copied() { until_so 20 "there are not $2 copies for $1" holds "$1" "$2"; }
check() { answer=$(inside /opt/mailsyncd/bin/mailsyncd check --socket "$1" 2>&1); }
says() { check /run/mailsyncd/mailsyncd.sock || true; grep -q "$1" <<<"$answer"; }
break_it() { inside sh -c 'echo "nonsense = 1" >>/etc/mailsyncd/config.toml'; }

the_daemon_lives() {
    deliver ann
    inside systemctl start mailsyncd || give_up "did not start, though it has its credential"
    until_it_is StatusText "1 routes"
    until_copied ann 1
    inside /usr/local/bin/python3 -c "from urllib.request import urlopen
assert b'<title>mailsyncd' in urlopen('http://127.0.0.1:8143/', timeout=20).read()" || give_up "shows no page"
    inside systemctl reload mailsyncd || give_up "did not take the reload"
    break_it
    ! inside systemctl reload mailsyncd 2>/dev/null || give_up "reloaded a broken configuration without a word"
    until_so 10 "does not tell of the broken configuration" says "last reload: refused.*nonsense"
    is ActiveState active && is NRestarts 0 || give_up "did not outlive a broken configuration"
    inside sed -i /nonsense/d /etc/mailsyncd/config.toml
}

an_instance_lives_beside_it() {
    unit=mailsyncd@work
    deliver bob
    inside systemctl start "$unit" || give_up "did not start beside the other"
    until_it_is StatusText "1 routes"
    until_copied bob 1
    until_so 10 "is not well" check /run/mailsyncd-work/mailsyncd.sock
    inside test -s /var/lib/mailsyncd-work/state.db || give_up "has no state of its own"
    inside systemctl reload "$unit" || give_up "did not take the reload"
    inside systemctl stop "$unit"
    is Result success && is ExecMainStatus 0 && is NRestarts 0 || give_up "did not stop well"
    unit=mailsyncd
    deliver ann
    until_copied ann 2
}

run_once_leaves_it_alone() {
    ! inside systemctl start mailsyncd-once 2>/dev/null || give_up "let another write"
    unit=mailsyncd-once
    is ExecMainStatus 75 || give_up "did not give way to the daemon"
    unit=mailsyncd
    deliver ann
    until_copied ann 3
}

the_daemon_dies_and_comes_again() {
    inside sh -c "kill -STOP $(property MainPID)"
    until_it_is NRestarts 1 # the watchdog
    until_it_is ActiveState active
    inside sh -c "kill -KILL $(property MainPID)"
    deliver ann
    until_it_is NRestarts 2
    until_copied ann 4
    inside systemctl stop mailsyncd
    is Result success && is ExecMainStatus 0 || give_up "did not stop well"
}

next_elapse() { inside systemctl show mailsyncd-once.timer -p NextElapseUSecRealtime --value; }
has_run_well() { is ActiveState inactive && is Result success && is ExecMainStatus 0 && [ -n "$(next_elapse)" ]; }

the_timer_fires() {
    local next wait
    unit=mailsyncd-once
    deliver ann
    inside systemctl start mailsyncd-once.timer
    next=$(next_elapse)
    wait=$(($(date -u -d "$next" +%s) - $(date +%s)))
    [ "$wait" -ge -1 ] && [ "$wait" -le 330 ] || give_up "is to run in $wait seconds, $next"
    mkdir "$root/etc/systemd/system/mailsyncd-once.timer.d" # five minutes are too long for a test
    printf '[Timer]\nOnCalendar=\nOnCalendar=*:*:0/4\nRandomizedDelaySec=0\n' >"$root/etc/systemd/system/mailsyncd-once.timer.d/soon.conf"
    inside systemctl daemon-reload
    inside systemctl restart mailsyncd-once.timer
    until_copied ann 5
    until_so 10 "did not end well, or is not to run again" has_run_well
    deliver ann
    until_copied ann 6
    inside systemctl stop mailsyncd-once.timer
    until_so 10 "did not end well" is ActiveState inactive
    unit=mailsyncd
}

a_broken_configuration_is_final() {
    break_it
    ! inside systemctl start mailsyncd 2>/dev/null || give_up "started with a broken configuration"
    sleep 3
    is ExecMainStatus 78 && is ActiveState failed || give_up "was started again though its configuration is wrong"
}

build || skip "no root could be made"
install_units
boot || skip "no container can be booted here"
the_daemon_lives
an_instance_lives_beside_it
run_once_leaves_it_alone
the_daemon_dies_and_comes_again
the_timer_fires
a_broken_configuration_is_final
echo "unit: started, copied, showed its page, reloaded, lived beside an instance and a run-once, outlived the" \
    "watchdog and a crash, stopped with 0; the timer fired and its runs ended well; a broken configuration was refused for good"
