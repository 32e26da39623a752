# Everything a newcomer or the CI runs. PYTHON chooses the interpreter that .venv is made from.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: venv demo test check lint bench floors clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev,report]'
	touch $@

# Time for the demo, and seconds of the epoch when make began: the installation counts, too.
DEMO_SECONDS ?= 300
DEMO_BEGAN := $(shell date +%s)
demo: venv
	$(BIN)/python scripts/demo.py --began $(DEMO_BEGAN) --seconds $(DEMO_SECONDS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

# What to run before every commit: all but the tests marked `slow`.
check: lint
	$(BIN)/python -m pytest -m "not slow"

# The lowest versions that pyproject.toml allows, in an environment of their own: downloads PyTorch.
# FLOORS=--keep goes on with the environment of an earlier call.
floors:
	$(PYTHON) scripts/floors.py $(FLOORS)

bench: venv
	PATH="$(abspath $(BIN)):$$PATH" bash -c 'for b in benchmarks/bench_*.py; do python "$$b"; done'

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .coverage
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
