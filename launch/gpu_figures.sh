#!/usr/bin/env bash
# The figures of docs/explanation/performance.md that need an accelerator: JSON files and tables in
# OUT, in under 20 minutes on one card. What is finished stays when it is cut off; started again, it
# goes on there.
#
#   launch/gpu_figures.sh OUT [FIELD=VALUE ...]      # fields for a trial at small size, as in
#   BATCHES=8 launch/gpu_figures.sh /tmp/figures 'model.features=(4,4)' model.timesteps=2
set -euo pipefail

out=${1:?where to write: launch/gpu_figures.sh OUT}
shift
batches=${BATCHES:-250 1000}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
[[ -x .venv/bin/python ]] && default=.venv/bin/python || default=python3
code=0
pid=
trap '[[ $pid ]] && kill -- "-$pid"; exit 130' INT TERM HUP # timeout gives a part a group of its own
asked="$batches ${REPETITIONS:-20} ${SECONDS_EACH:-3} $*"
if [[ -e $out/asked && $(<"$out/asked") != "$asked" ]]; then
  echo "$out has figures of other settings ($(<"$out/asked")): name another folder" >&2
  exit 1
fi
printf '%s\n' "$asked" >"$out/asked"

part() { # part NAME SECONDS MODULE ARGUMENTS: a process of its own, its JSON and its table
  local name=$1 seconds=$2 module=$3
  shift 3
  [[ -s $out/$name.json ]] && return
  echo "== $name"
  timeout "$seconds" "${PYTHON:-$default}" -m "$module" --out "$out/$name.json" "$@" \
    >"$out/$name.md" 2>"$out/$name.log" &
  pid=$!
  wait "$pid" || {
    echo "$name did not finish: see $out/$name.log"
    code=1
  }
  cat "$out/$name.md"
}

for dtype in bfloat16 float32; do
  for figure in train sample overhead; do
    # shellcheck disable=SC2086  # one word a batch size
    part "${figure}_$dtype" 300 benchmarks.run --dtype "$dtype" --only "$figure" \
      --batches $batches --repetitions "${REPETITIONS:-20}" --seconds "${SECONDS_EACH:-3}" -- "$@"
  done
done
part compile 240 benchmarks.run --only compile --seconds "${SECONDS_EACH:-3}" -- "$@"
exit "$code"
