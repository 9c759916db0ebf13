# Two commands matter: `make demo` and `make test`. Both install what they need (apt packages as root).
VENV := .venv
PY := $(VENV)/bin/python
.DEFAULT_GOAL := help

# The first of these that is Python 3.11 or newer makes the virtual environment. To choose another, and to keep its
# environment apart: make test PYTHON=python3.13 VENV=.venv-3.13
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")
PYTHON ?= $(shell for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/ready: requirements-dev.txt pyproject.toml
	@$(or $(PYTHON),python3) -c '$(NEW_ENOUGH)'
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(VENV)/ready ## the virtual environment, from the locked requirements

system: ## the Debian packages that the tests and the demo use (needs root; skipped with a word otherwise)
	@PYTHON='$(PYTHON)' sh tests/install-system-packages

demo-system:
	@PYTHON='$(PYTHON)' sh tests/install-system-packages demo

demo: demo-system venv ## a real mesh in network namespaces with the exporter on it; Ctrl-C removes every trace
	$(VENV)/bin/argus-wg demo

test: system venv lint ## everything: lint, types, unit, property, kernel and end-to-end tests
	@$(PY) -c 'import sys; print("Python", sys.version.split()[0], "of", sys.base_prefix)'
	$(PY) -m pytest

lint: venv ## ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: system venv ## measures scrapes against `wg` and the raw dump, records against wide rows
	$(PY) -m bench

clean: ## the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Packages come first: a fresh Debian has no python3-venv.
.PHONY: help venv system demo-system demo test lint bench clean
