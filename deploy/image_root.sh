#!/bin/bash
# The root directory of the image: of the base, what Python needs to run /opt/mailsyncd, and no more.
#
#   deploy/image_root.sh DIRECTORY        within the build stage of the Dockerfile
set -euo pipefail
image=$1
python=$(readlink -f /opt/mailsyncd/bin/python)
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')

# What is named on standard input, links and all; with -h what the links lead to.
take() { sed 's|^/||' | tar -C / "$@" -cf - --no-recursion -T - | tar -C "$image" -xf -; }

mkdir -p "$image"
find /opt/mailsyncd /usr/local/bin/python "${python%/*}"/python3* "$library" \
    \( -name __pycache__ -o -path "$library/site-packages" -o -path "$library/config-*" \
    -o -path "$library/test" -o -path "$library/ensurepip" -o -path "$library/idlelib" -o -path "$library/lib2to3" \
    -o -path "$library/tkinter" -o -path "$library/turtledemo" -o -path "$library/pydoc_data" \
    -o -path "$library/lib-dynload/_test*" \) -prune -o -print | take

# Shared libraries, by what the linker says; a shell for the health check; certificates, and how Debian
# wants names to be looked up and OpenSSL to be strict.
{
    find "$image" -name '*.so*' -type f -print0 | xargs -0 ldd "$python" "$(readlink -f /bin/sh)" |
        sed -nE 's|.*[[:space:]](/[^ ]+) \(0x.*|\1|p' | sort -u
    ls -d /bin/sh /etc/ssl/certs/ca-certificates.crt /etc/nsswitch.conf /etc/ssl/openssl.cnf \
        /usr/lib/ssl/openssl.cnf /etc/debian_version /etc/os-release /etc/ld.so.conf /etc/ld.so.conf.d/* \
        2>/dev/null || true
} | take -h
ldconfig -r "$image"

mkdir -p "$image/etc"
echo 'mailsyncd:x:10001:10001::/var/lib/mailsyncd:/bin/false' >"$image/etc/passwd"
echo 'mailsyncd:x:10001:' >"$image/etc/group"
install -d -m 1777 "$image/tmp"
install -d -m 0755 "$image/etc/mailsyncd"
install -d -m 0700 -o 10001 -g 10001 "$image/var/lib/mailsyncd" "$image/run/mailsyncd"

# Compiled here once, for the root will be read-only. The sources do not change behind its back.
python3 -m compileall -q --invalidation-mode unchecked-hash -s "$image" "$image/opt/mailsyncd" "$image$library"

# Whatever is missing is missed now.
chroot "$image" /opt/mailsyncd/bin/python -I -c '
import bz2, ctypes, lzma, readline, sqlite3, ssl, uuid, zlib
import mailsyncd.assemble, mailsyncd.commands.auth, mailsyncd.state.dynamodb, mailsyncd.vault.read'
