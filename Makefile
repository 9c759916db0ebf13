# Two commands matter: `make demo` and `make test`. Both install what they need (apt packages as root).
VENV := .venv
PY := $(VENV)/bin/python
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/ready: requirements-dev.txt pyproject.toml
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(VENV)/ready ## the virtual environment, from the locked requirements

system: ## the Debian packages that the tests and the demo use (needs root; skipped with a word otherwise)
	@sh tests/install-system-packages

demo-system:
	@sh tests/install-system-packages demo

demo: demo-system venv ## a real mesh in network namespaces with the exporter on it; Ctrl-C removes every trace
	$(VENV)/bin/argus-wg demo

test: system venv lint ## everything: lint, types, unit, property, kernel and end-to-end tests
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
