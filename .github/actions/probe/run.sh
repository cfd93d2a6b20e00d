#!/usr/bin/env bash
# One run of the probe as a step: its exit code is the step's. The probe itself writes the step's
# summary; here come annotations, outputs, and the copy that a later run is compared with.
#
# RUN_SCENARIO, RUN_TARGET, RUN_ARGS, RUN_ACCEPTED, RUN_BASELINE and RUN_OUT are the action's inputs.
set -uo pipefail

usage=2
out=${RUN_OUT:-results}
baseline=$(realpath -m "$out-baseline")
export CI=true

fail() { # what went wrong; the message holds nothing that a server has said
  echo "::error title=probe::$1"
  echo "exit-code=$usage" >> "$GITHUB_OUTPUT"
  exit "$usage"
}

[ -n "${RUN_SCENARIO:-}" ] || fail "name a scenario (input: scenario)"
[ -n "${RUN_TARGET:-}" ] || fail "name what is to be tested (input: target)"

words=(run "$RUN_SCENARIO" --target "$RUN_TARGET" --out "$out" --no-color)
[ -z "${RUN_ACCEPTED:-}" ] || words+=(--accepted "$RUN_ACCEPTED")
if [ "${RUN_BASELINE:-}" = true ]; then
  against=latest # where none is kept yet: the probe then says so, and takes `--fail-on` all the same
  [ ! -f "$baseline/verdict.json" ] || against=$baseline
  words+=(--baseline "$against")
fi
# xargs takes quotes apart as a shell does, and expands nothing.
split=$(xargs -r printf '%s\n' <<< "${RUN_ARGS:-}") || fail "the input args is not quoted rightly"
while IFS= read -r word; do
  [ -z "$word" ] || words+=("$word")
done <<< "$split"

# Until the word is said again the runner takes nothing that is printed for a command, whatever
# a server may have said.
word=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
[ "${#word}" = 32 ] || fail "there is no random word to stop commands with"
before=$(readlink -f "$out/latest" 2> /dev/null)
echo "::stop-commands::$word"
probe "${words[@]}"
code=$?
echo
echo "::$word::"

# `latest` is this run only if it was made by it: a usage error leaves none.
folder=$(readlink -f "$out/latest" 2> /dev/null)
[ "$folder" != "$before" ] && [ -d "$folder" ] || folder=""
# `--dry-run` and `--help` end with 0 and have tested nothing: that is no pass.
if [ "$code" = 0 ] && ! [ -f "$folder/verdict.json" ]; then code=$usage; fi

echo "exit-code=$code" >> "$GITHUB_OUTPUT"
if [ -n "$folder" ] && [ -f "$folder/verdict.json" ]; then
  # All or nothing, since an error's own words are escaped for nobody.
  if told=$(probe report "$folder" --format github 2> /dev/null); then
    printf '%s\n' "$told"
  else
    echo "::warning title=probe::no annotations could be made"
  fi
  python3 -I - "$folder/verdict.json" >> "$GITHUB_OUTPUT" << 'READ'
import json, sys
told = json.load(open(sys.argv[1], encoding="utf-8"))
for name in ("verdict", "headline"):
    print(f"{name}={' '.join(str(told[name]).split())}")
READ
  echo "folder=$folder" >> "$GITHUB_OUTPUT"
  if [ "${RUN_BASELINE:-}" = true ] && [ "$code" = 0 ]; then
    rm -rf "$baseline" && cp -R "$folder" "$baseline"
  fi
else
  echo "::error title=probe::the run left no verdict (exit code $code); see its output"
  [ -z "$folder" ] || echo "folder=$folder" >> "$GITHUB_OUTPUT"
fi
exit "$code"
