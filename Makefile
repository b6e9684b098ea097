# `make demo` shows the project at work, `make test` checks it. Three long campaigns stand outside `make test`:
# `make fuzz` tries random configurations and damaged files, `make faults` kills processes and fills disks,
# `make mutants` changes the code and counts the changes that no test notices. All install into .venv first.
PYTHON ?= python3
# Test processes that run side by side. Each takes one core and up to 2 GiB of memory.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 3
TIMES ?= 20

.PHONY: install demo test docs fuzz faults mutants clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; $(PYTHON) is older or missing. Name another: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/python tools/demo.py --seeds $(SEEDS)

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --cov -n $(WORKERS) --dist loadfile

# The pages that are made from the code.
docs: install
	$(BIN)/python -m lare_dassl.config.keys_page docs/keys.md
	$(BIN)/python -m lare_dassl.trainers.base.methods_page docs/methods.md

# About ten minutes; docs/reliability.md says how to read the outcome.
mutants: install
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,mutants]'
	rm -rf mutants
	OMP_NUM_THREADS=1 nice $(BIN)/mutmut run --max-children 1
	$(BIN)/mutmut results

# TIMES as many cases as in `make test`, and others each time.
fuzz: install
	LARE_DASSL_FUZZ=$(TIMES) $(BIN)/python -m pytest tests/config_fuzz tests/damage

# At most 30 minutes on two cores.
faults: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

clean:
	rm -rf $(VENV) build mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.*
