# `make demo` shows the project at work; `make test` checks it; `make faults` kills it by the hundred, fills its disk and
# takes its permissions, and sees whether anything is lost. All install into .venv first, and may be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 3

.PHONY: install demo test faults clean

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
	$(BIN)/python -m pytest

# 30 minutes on two cores at most.
faults: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
