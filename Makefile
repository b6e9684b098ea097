# `make demo` shows the project at work; `make test` checks it, `make fuzz` at length with files damaged at random.
# All install into .venv first, and may be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 3
TIMES ?= 20

.PHONY: install demo test fuzz clean

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

# As many times as many cases as `make test` tries, and others each time.
fuzz: install
	LARE_DASSL_FUZZ=$(TIMES) $(BIN)/python -m pytest tests/damage

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
