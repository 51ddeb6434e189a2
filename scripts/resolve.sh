#!/usr/bin/env bash
# Do the constraints resolve, all extras included, on every supported Python that is at hand? Nothing is installed.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
for version in 3.11 3.12 3.13; do
  python=""
  for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then python=$candidate; break; fi
  done
  if [ -z "$python" ]; then
    echo "Python $version: not on this machine"
    continue
  fi
  "$python" -m venv "$work/$version" || exit 1
  # An older pip's dry run downloads every wheel, gigabytes of CUDA among them; a newer one reads metadata alone.
  "$work/$version/bin/python" -m pip install --quiet --upgrade pip 2>/dev/null || exit 1
  if "$work/$version/bin/python" -m pip install --quiet --disable-pip-version-check --dry-run \
    --constraint "$root/constraints.txt" "$root[sae,train,labels,dev]" 2>"$work/log"; then
    echo "Python $version: resolves"
  else
    grep -i error "$work/log" | head -5
    echo "Python $version: DOES NOT RESOLVE"
    failed=1
  fi
done
exit $failed
