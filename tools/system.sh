#!/usr/bin/env bash
# Install what the tests need from the system: PostgreSQL (server binaries), Chromium, a Java runtime, and what
# checks systemd units.
# Does nothing when they are there. Where it may not install, it says what to install and goes on: the tests that need
# them then skip with the reason (and fail when CI=true).
set -euo pipefail

missing=()
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v wrk >/dev/null || missing+=(wrk) # bench/service.py
fc-list 2>/dev/null | grep -qi cjk || missing+=(fonts-noto-cjk)
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo="sudo"; else sudo="none"; fi
fi
if [ "$sudo" = none ] || ! command -v apt-get >/dev/null; then
  echo "Not installed: ${missing[*]}. On Debian or Ubuntu: sudo apt-get install ${missing[*]}. The tests that need them will skip." >&2
  exit 0
fi
echo "Installing from Debian's packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
