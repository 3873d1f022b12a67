#!/usr/bin/env bash
# Trains on this machine, with the settings that make it fast (docs/explanation/performance.md).
#
#   launch/local.sh [--processes=N] [--devices=N] --config=mnist [main's other flags]
#
#   --processes=N  share the run among N processes, to try out what a cluster does; default 1. Each
#                  has its share of the cores, or, where there are GPUs, one of them
#   --devices=N    simulate N devices in each process, on CPU
#
# Ctrl-C, SIGTERM and SIGHUP save and stop all processes. Relative paths are relative to the repository.
# PYTHON=... chooses the interpreter; default: .venv/bin/python if there is one, else python3.
set -euo pipefail # all here is for bash 3.2, which macOS has, too

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }

fail() {
  echo "launch/local.sh: $*; see --help" >&2
  exit 2
}

processes=1 devices='' flags=()
[[ $# -gt 0 ]] || { usage >&2; exit 2; }
for argument in "$@"; do
  value=${argument#*=}
  if [[ $argument == --processes=* || $argument == --devices=* ]]; then
    [[ $value =~ ^[1-9][0-9]*$ ]] || fail "$argument is not a number of 1 or more"
  fi
  case $argument in
    -h | --help) usage; exit 0 ;;
    --processes=*) processes=$value ;;
    --devices=*) devices=$value ;;
    --processes | --devices | --coordinator* | --process=*) fail "$argument: it takes --processes=N and --devices=N" ;;
    *) flags+=("$argument") ;;
  esac
done

script=$0
while [[ -L $script ]]; do # as readlink -f, which macOS lacks
  target=$(readlink "$script")
  [[ $target == /* ]] && script=$target || script=$(dirname "$script")/$target
done
unset CDPATH
cd -P "$(dirname "$script")/.."
[[ -x .venv/bin/python ]] && default=.venv/bin/python || default=python3
# In a scheduler's shell: this run is of this machine alone, whichever task the shell is.
unset SLURM_PROCID OMPI_COMM_WORLD_RANK JOB_COMPLETION_INDEX JAX_PROCESS_ID JAX_COORDINATOR_ADDRESS
command=("${PYTHON:-$default}" -m fsvae_jax.main ${flags[@]+"${flags[@]}"})
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
if [[ $devices ]]; then
  export JAX_PLATFORMS=cpu
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices"
fi
[[ $processes == 1 ]] && exec "${command[@]}"

cores=()
if command -v taskset > /dev/null; then # those that this shell may use
  for range in $(taskset -cp $$ | sed 's/.*: //; s/,/ /g'); do
    for ((core = ${range%-*}; core <= ${range#*-}; core++)); do cores+=("$core"); done
  done
fi

# Cores of process $1, as taskset takes them; processes beyond the number of cores share them.
share() {
  local count=${#cores[@]} first number IFS=,
  first=$(($1 * count / processes))
  number=$((($1 + 1) * count / processes - first))
  echo "${cores[*]:$first:$((number ? number : 1))}"
}

port=$("${command[0]}" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
set -m # own process groups: the terminal's Ctrl-C must not reach them beside the TERM below
pids=()
for ((i = 0; i < processes; i++)); do
  one=("${command[@]}" --coordinator="localhost:$port" --processes="$processes" --process="$i")
  if [[ ! $devices ]] && command -v nvidia-smi > /dev/null; then
    export JAX_LOCAL_DEVICE_IDS=$i
  elif [[ ${#cores[@]} -gt 0 ]]; then
    one=(taskset --cpu-list "$(share "$i")" "${one[@]}")
  fi
  "${one[@]}" > >(while IFS= read -r line || [[ $line ]]; do echo "[$i] $line"; done) 2>&1 &
  pids+=($!)
done
trap 'told=yes; kill -TERM "${pids[@]}" 2> /dev/null || true' INT TERM HUP
code=0
for pid in "${pids[@]}"; do
  told=yes
  while [[ $told ]]; do # a trap ends wait before the process has ended
    told='' status=0
    wait "$pid" || status=$?
  done
  ((code)) || code=$status
done
exit "$code"
