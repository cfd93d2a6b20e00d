#!/usr/bin/env bash
# Put `probe` on the path, in an environment of its own; one that is there already is used.
set -euo pipefail

if command -v probe > /dev/null; then
  exit 0
fi
venv="$RUNNER_TEMP/probe-venv"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  "${RUN_PACKAGE:-$GITHUB_ACTION_PATH/../../..}"
echo "$venv/bin" >> "$GITHUB_PATH"
