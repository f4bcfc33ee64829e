# Each target does all of its own set-up: a fresh machine needs Python 3.11 or 3.12, and pip.
#   make run     the whole path in miniature, ending in a verdict and a report
#   make test    every test, the slow ones included
#   make check   lint and types
#   make serve-cpu   vLLM without a GPU in .venv-serve, for --set eval.backend=vllm
# On Linux without an NVIDIA GPU torch's CPU build is taken (200 MB instead of several GB). Another:
#   make run TORCH_INDEX=URL     from that index; TORCH_INDEX=pypi: what pip finds by itself

# zstandard 0.22.0, which axolotl 0.19.0 asks for, has no wheel for Python 3.13.
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11,\
  $(shell $(p) -c '$(FITS)' 2>/dev/null && echo $(p))) python3)
VENV ?= .venv
SERVE_VENV ?= .venv-serve
TORCH_INDEX ?=
PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt
# Chooses torch's build, says why, and gives pip's words for it.
TORCH = $(VENV)/bin/python -m launch.plan.torch_build $(TORCH_INDEX)

.DEFAULT_GOAL := help
.PHONY: help run test check setup setup-dev serve-cpu clean

help:
	@sed -n 's/^#   make/make/p' Makefile

$(VENV)/bin/python:
	@$(PYTHON) -c '$(FITS)' || { \
	  echo "error: axolotl 0.19.0 needs Python 3.11 or 3.12; $(PYTHON) --version: $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "next:  make $(MAKECMDGOALS) PYTHON=/path/to/python3.12 (uv python install 3.12 brings one)" >&2; \
	  exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	torch=$$($(TORCH)) && $(PIP) $$torch -e '.[train,eval]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	torch=$$($(TORCH)) && $(PIP) $$torch -e '.[train,eval,zero3,dev]'
	@touch $@

# The file lists every package: pip resolves nothing. What vLLM's build for CPUs still needs, the
# program mends and checks.
$(SERVE_VENV)/.ready: constraints-serve.txt pyproject.toml launch/plan/vllm_cpu.py
	$(PYTHON) -m venv $(SERVE_VENV)
	torch=$$($(SERVE_VENV)/bin/python -m launch.plan.torch_build $(TORCH_INDEX)) && \
	  $(SERVE_VENV)/bin/python -m pip install --disable-pip-version-check --no-deps $$torch \
	  -r constraints-serve.txt -e .
	$(SERVE_VENV)/bin/python launch/plan/vllm_cpu.py
	@touch $@

serve-cpu: $(SERVE_VENV)/.ready

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
	rm -rf $(VENV) $(SERVE_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
