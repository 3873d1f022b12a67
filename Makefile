# make train [CONFIG=mnist] [ARGS="--config.train.steps=1000"]     make test     make test-all     make docs
# Each sets up .venv by itself; PYTHON=python3.12 VENV=.venv312 is another interpreter (3.11 or newer), in
# an environment of its own.

PYTHON ?= python3
VENV ?= .venv
CONFIG ?= digits
ARGS ?=

# Large arrays on huge pages: a third faster on Linux CPUs (docs/explanation/performance.md).
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.NOTPARALLEL: # the tutorials share a run
.PHONY: train test test-all docs format

train: $(VENV)/installed
	$(VENV)/bin/python -m fsvae_jax.main --config=$(CONFIG) $(ARGS)

# `test` leaves out the tests marked slow, of whole runs and processes: half of the time.
test: SOME = -m 'not slow'
test test-all: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck launch/*.sh launch/slurm.sbatch
	$(VENV)/bin/python -m pytest $(SOME)

# The site, in build/site. A tutorial is executed anew if it or the package has changed.
docs: $(VENV)/installed-docs $(patsubst docs/%.py,build/%.ipynb,$(wildcard docs/tutorials/*.py))
	$(VENV)/bin/mkdocs build

build/tutorials/%.ipynb: docs/tutorials/%.py $(shell find fsvae_jax configs -name '*.py') | $(VENV)/installed-docs
	@mkdir -p build/tutorials && rm -rf build/tutorials/runs/$*
	$(VENV)/bin/jupytext --quiet --to ipynb --set-kernel python3 --execute --run-path build/tutorials --output $@ $<

build/tutorials/latent.ipynb build/tutorials/energy.ipynb build/tutorials/export.ipynb: build/tutorials/train.ipynb  # its model

format: $(VENV)/installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c '' || { echo '$(PYTHON) cannot be run: install it, or name another Python of 3.11 or newer: make PYTHON=/path/to/python3 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("fsvae_jax needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev $(VENV)/installed-docs: $(VENV)/installed-%: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --editable '.[$*]'
	@touch $@
