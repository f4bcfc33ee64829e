# Each target does all of its own set-up: a fresh machine needs Python 3.11 or newer, and pip.
#   make run     the whole path in miniature, ending in a verdict and a report
#   make test    every test, the slow ones included
#   make check   lint and types
# On Linux without a GPU, let pip find torch's CPU build (200 MB instead of several GB):
#   make run TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
INDEX = $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX),)
PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check $(INDEX) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run test check setup setup-dev clean

help:
	@sed -n 's/^#   make/make/p' Makefile

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11; next: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# One pip call with torch pinned in it: a bare `torch` would bring several GB of CUDA.
$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch==2.13.0 -e '.[train,eval]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) torch==2.13.0 -e '.[train,eval,zero3,dev]'
	@touch $@

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

run: setup
	$(VENV)/bin/mfo run smoke

check: setup-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: setup-dev
	$(VENV)/bin/python -m pytest

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
