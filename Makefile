# `make run` and `make test` set up .venv by themselves; PYTHON=python3.12 picks another interpreter for it.

PYTHON ?= python3
BIN    := .venv/bin
# Tests look at the clock, at the machine's names and at the environment: one locale for all of them.
export PYTHONUTF8 := 1

.DEFAULT_GOAL := help
.PHONY: help run test lint schema bench soak fuzz clean

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: .venv/core  ## start the demo API and the proxy in front of it
	$(BIN)/countersign demo

test: lint  ## ruff, mypy, and pytest with its coverage gate
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n auto $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

schema: .venv/core  ## write config/schema.json anew
	$(BIN)/countersign schema > config/schema.json.tmp
	mv config/schema.json.tmp config/schema.json

bench: .venv/core  ## side by side with other proxies, see docs/development.md
	$(BIN)/python -m bench $(ARGS)

soak: .venv/test  ## ten minutes of everything at once, see docs/reliability.md
	$(BIN)/python -m bench.soak $(ARGS)

fuzz: .venv/fuzz  ## a million inputs for what parses, see docs/development.md
	$(BIN)/python -m tests.fuzz $(ARGS)

clean:  ## remove what these commands made
	rm -rf .venv .bench .fuzz dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* config/*.tmp
	find proxy tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# -- the environment; each file says that a step is done

.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or later is needed; right would be: make PYTHON=python3.12 …' >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'  # knows dependency groups
	@touch $@

.venv/core: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@$(BIN)/python -m compileall -q proxy  # as pip does where it is not editable: a start takes half the time
	@touch $@

.venv/test: .venv/core pyproject.toml
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

.venv/fuzz: .venv/test pyproject.toml
	$(BIN)/python -m pip install --quiet --group fuzz
	@touch $@
