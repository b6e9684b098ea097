# `make demo` shows the project at work; `make test` checks it. `make fuzz` tries random configurations at length,
# `make faults` kills it by the hundred, fills its disk and takes its permissions, and sees whether anything is lost,
# `make mutants` tests the tests. All install into .venv first, and may be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 3
TIMES ?= 20

.PHONY: install demo test fuzz faults mutants clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/python tools/demo.py --seeds $(SEEDS)

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --cov

# Changes of the code that no test notices, one by one (docs/reliability.md); about ten minutes.
mutants: install
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,mutants]'
	rm -rf mutants
	OMP_NUM_THREADS=1 nice $(BIN)/mutmut run --max-children 1
	$(BIN)/mutmut results

# As many times as many cases as `make test` tries, and others each time.
fuzz: install
	LARE_DASSL_FUZZ=$(TIMES) $(BIN)/python -m pytest tests/config_fuzz tests/damage

# 30 minutes on two cores at most.
faults: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

clean:
	rm -rf $(VENV) build mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.*
