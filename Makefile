# The main targets are `make demo` and `make test`. Both install the packages they need, if run as root.
VENV := .venv
PY := $(VENV)/bin/python
.DEFAULT_GOAL := help

# The number of processes that run tests; auto: one for each processor.
JOBS ?= auto

# The virtual environment uses the first of these that is Python 3.11 or newer. To use another one in an environment
# of its own: make test PYTHON=python3.13 VENV=.venv-3.13
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")
PYTHON ?= $(shell for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/ready: requirements-dev.txt pyproject.toml
	@$(or $(PYTHON),python3) -c '$(NEW_ENOUGH)'
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(VENV)/ready ## create the virtual environment from the locked requirements

system: ## install the Debian packages for the tests and the demo (without root: only list them)
	@PYTHON='$(PYTHON)' sh tests/install-system-packages

demo-system:
	@PYTHON='$(PYTHON)' sh tests/install-system-packages demo

demo: demo-system venv ## run a real mesh in network namespaces with the exporter; Ctrl-C removes everything
	$(VENV)/bin/argus-wg demo

test: system venv lint ## install what the tests need, then run the linters, the type checker and all tests
	@$(PY) -c 'import sys; print("Python", sys.version.split()[0], "of", sys.base_prefix)'
	$(PY) -m pytest --numprocesses $(JOBS) --maxprocesses 4 --durations 10

lint: venv ## run ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: system venv ## measure scrapes and records; docs/performance.md explains the figures
	$(PY) -m bench

screenshots: venv ## draw the pictures in docs/images
	$(PY) docs/screenshots.py

clean: ## delete the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `system` comes before `venv`: a fresh Debian has no python3-venv.
.PHONY: help venv system demo-system demo test lint bench screenshots clean
