#!/usr/bin/env bash
# Installs what is missing of the named Debian packages, with root or sudo; says what to install where it cannot.
set -euo pipefail
missing=()
for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
if ! command -v apt-get >/dev/null || { [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; }; then
  echo "please install: ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive LC_ALL=C # LC_ALL: the message about locks is read below
wait_s=600

# apt-get, which waits while another apt or dpkg holds a lock. The option covers dpkg's lock; those of apt's lists and archives need the loop.
locked_apt() {
  local deadline=$((SECONDS + wait_s)) told="" output
  until output=$("${as_root[@]}" apt-get -qq -o "DPkg::Lock::Timeout=$wait_s" "$@" 2>&1 >/dev/null); do
    if ! grep -q 'Could not get lock' <<<"$output"; then
      echo "$output" >&2
      return 1
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      printf '%s\napt-get %s: gave up after %s s, another process holds the lock: wait for it to end, then run this again\n' "$output" "$1" "$wait_s" >&2
      return 1
    fi
    [ -n "$told" ] || echo "apt-get $1: waiting up to $wait_s s for another process that holds apt's lock" >&2
    told=yes
    sleep 3
  done
  [ -z "$output" ] || echo "$output" >&2
}

locked_apt update
locked_apt install -y --no-install-recommends "${missing[@]}"
