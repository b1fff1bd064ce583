# Mindstream: everything a person or CI does with a checkout. `make help` lists it.
#
# Needs Python >= 3.11 and make; the rest comes from the locks, into .venv/.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# Three lanes, of which those with whole systems mostly wait (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest --numprocesses 3
BENCH ?=
ARGS ?=

# The first of these that runs and is new enough; `make PYTHON=… …` names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$p && break; done)

.PHONY: help up test check bench fmt lock reference test-faults clean

help: ## List what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.runtime ## Start everything on http://127.0.0.1:8000; Ctrl-C stops it (FULL=1: with real servers)
	@$(if $(FULL),MINDSTREAM_FULL=$(FULL)) exec $(BIN)/mindstream up $(ARGS)

test: $(VENV)/.dev ## Run every test
	$(PYTEST) $(ARGS)

test-faults: $(VENV)/.dev ## Run only the tests that kill, stop and starve processes
	$(BIN)/python -m pytest -m faults --long $(ARGS)

check: $(VENV)/.dev ## What CI runs: lint, format, types, imports, known vulnerabilities, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit.py
	$(PYTEST) $(ARGS)

bench: $(VENV)/.dev ## Measure side by side and print ratios; BENCH=append runs one
	$(BIN)/python -m benchmarks $(BENCH)

fmt: $(VENV)/.dev ## Format, and fix what can be fixed safely
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: $(VENV)/.dev ## Make docs/reference/ from the code
	$(BIN)/python -m bootstrap.reference

# No index address may reach a lock: uv is told to leave it out, and the header with it.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

lock: $(VENV)/.installer ## Resolve the dependencies anew (UPGRADE=--upgrade takes newer ones)
	echo 'uv' | $(LOCK) $(UPGRADE) --no-annotate - -o requirements-uv.lock
	$(LOCK) $(UPGRADE) --extra build pyproject.toml -o requirements.lock
	$(LOCK) $(UPGRADE) --extra build --extra dev --extra bench -c requirements.lock \
		pyproject.toml -o requirements-dev.lock

clean: ## Remove the environment and every cache; embedded data (.mindstream/) stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- The environment -------------------------------------------------------------------------
# Stamps say what is installed, so that a second run is instant. `test` wants more than `up`: the
# development lock holds the runtime one, so its stamp serves both. Of two that make it at once the
# second waits for the first and finds it made: each begins again, alone.

ifndef ALONE

$(VENV)/.installer: requirements-uv.lock
$(VENV)/.runtime: requirements-uv.lock requirements.lock pyproject.toml
$(VENV)/.dev: requirements-uv.lock requirements-dev.lock pyproject.toml
$(VENV)/.installer $(VENV)/.runtime $(VENV)/.dev:
	@test -n "$(PYTHON)" || { echo "Mindstream needs Python >= 3.11 with venv on PATH" >&2; exit 1; }
	@$(PYTHON) .ci/alone.py $(MAKE) --no-print-directory ALONE=1 $@

else

$(VENV)/.installer: requirements-uv.lock
	@test -x $(BIN)/python || { echo "Creating $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--only-binary :all: -r requirements-uv.lock \
		|| echo "uv cannot be had for this machine; pip does its work, more slowly" >&2
	@touch $@

# $(call install,LOCK): what the lock names, hashes checked, then the project itself as a link.
define install
	@echo "Installing $(1)"
	@if [ -x $(BIN)/uv ]; then \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(1) && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		$(BIN)/python -m pip install --quiet --require-hashes -r $(1) && \
		$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .; \
	fi
endef

$(VENV)/.runtime: $(VENV)/.installer requirements.lock pyproject.toml
	@if [ -e $(VENV)/.dev ]; then $(MAKE) --no-print-directory $(VENV)/.dev; fi
	$(if $(wildcard $(VENV)/.dev),,$(call install,requirements.lock))
	@touch $@

$(VENV)/.dev: $(VENV)/.installer requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $@ $(VENV)/.runtime

endif
