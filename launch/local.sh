#!/usr/bin/env bash
# Trains on this machine, with the settings that make it fast (docs/performance.md).
# Usage: launch/local.sh --config=configs/mnist.py [other flags of fsvae_jax.main]
# Relative paths are relative to the repository, which runs/ is in.
# PYTHON=... chooses the interpreter; default: .venv/bin/python if there is one, else python3.
set -euo pipefail
if [[ $# == 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,5s/^# //p' "$0"
  exit $(($# == 0 ? 2 : 0))
fi
cd "$(dirname "$0")/.."
[[ -x .venv/bin/python ]] && default=.venv/bin/python || default=python3
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
exec "${PYTHON:-$default}" -m fsvae_jax.main "$@"
