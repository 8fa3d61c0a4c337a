#!/usr/bin/env bash
# The units are correct and as locked up as they claim. systemd-analyze exits 0 on unknown keys and
# bad values and only says so on stderr: anything said is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# verify wants the program to be there; the units' own path may not exist on this machine. Of a template it
# takes an instance.
for unit in systemd/*; do
    name=$(basename "${unit/@./@work.}")
    sed "s|/opt/mailsyncd/bin/mailsyncd|$(command -v true)|; /^Documentation=/d" "$unit" >"$scratch/$name"
done
for unit in "$scratch"/*; do
    said=$(systemd-analyze verify --man=no "$unit" 2>&1 >/dev/null || true)
    said=$(grep mailsyncd <<<"$said" || true)
    if [ -n "$said" ]; then
        echo "$said" >&2
        exit 1
    fi
done
for unit in systemd/*.service; do
    said=$(systemd-analyze security --offline=yes --threshold=15 "$unit" | tail -n 1)
    echo "$(basename "$unit"): $said"
done
systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' systemd/mailsyncd-once.timer)" >/dev/null
