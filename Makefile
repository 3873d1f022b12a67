# make train [CONFIG=mnist] [ARGS="--config.train.steps=1000"]     make test
# Each sets up .venv by itself; PYTHON=python3.12 chooses the interpreter (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
CONFIG ?= digits
ARGS ?=

# Large arrays on huge pages: a third faster on Linux CPUs (docs/performance.md).
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: train test format

train: $(VENV)/installed
	$(VENV)/bin/python -m fsvae_jax.main --config=$(CONFIG) $(ARGS)

test: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck launch/*.sh launch/slurm.sbatch
	$(VENV)/bin/python -m pytest

format: $(VENV)/installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c '' || { echo '$(PYTHON) cannot be run: install it, or name another Python of 3.11 or newer: make PYTHON=/path/to/python3 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("fsvae_jax needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@
