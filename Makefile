# Each target does all of its own set-up: a fresh machine needs Python 3.11 or newer, and pip.
#   make run     the whole path in miniature, ending in a verdict and a report
#   make test    every test, the slow ones included
#   make check   lint and types
# On Linux without an NVIDIA GPU torch's CPU build is taken (200 MB instead of several GB). Another:
#   make run TORCH_INDEX=URL     from that index; TORCH_INDEX=pypi: what pip finds by itself

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt
# Chooses torch's build, says why, and gives pip's words for it.
TORCH = $(VENV)/bin/python -m launch.preflight.torch_build $(TORCH_INDEX)

.DEFAULT_GOAL := help
.PHONY: help run test check setup setup-dev clean

help:
	@sed -n 's/^#   make/make/p' Makefile

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11; next: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	torch=$$($(TORCH)) && $(PIP) $$torch -e '.[train,eval]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	torch=$$($(TORCH)) && $(PIP) $$torch -e '.[train,eval,zero3,dev]'
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
