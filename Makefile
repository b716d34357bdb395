# Two commands: `make demo` and `make test`. Everything is installed into .venv from the hashed lock file.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test lint bench lock clean

help: ## Show the targets.
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

# The stamp holds what it was made from, so that a second run costs nothing and a changed lock reinstalls.
install: $(VENV)/.installed ## Make .venv with every pinned dependency.

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Holdfast needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 $(MAKECMDGOALS)") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## Play the EUR 5,000 website redesign on a real Temporal and a real PostgreSQL.
	@$(BIN)/holdfast run examples/website-redesign.yaml

test: install ## Run the tests on the embedded servers.
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install ## Check formatting, lint rules and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install ## Measure settlements and commands; writes benchmarks/results.json.
	@$(BIN)/python -m benchmarks

lock: ## Pin the dependencies again (needs uv).
	uv pip compile --universal --generate-hashes --no-header --no-annotate --all-extras --quiet pyproject.toml --output-file requirements.lock

clean: ## Remove the virtual environment, caches and the embedded stack's data.
	rm -rf $(VENV) .holdfast .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
