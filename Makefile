# Two commands: `make demo` and `make test`. Everything is installed into .venv from the hashed lock file.
# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 demo` names another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
SOAK_MINUTES ?= 10
SOAK_SEED ?=
CHAOS_MINUTES ?= 10
CHAOS_SEED ?=
RACES_ROUNDS ?= 5000
RACES_SEED ?=

.PHONY: help install demo test soak races chaos record lint bench lock clean

help: ## Show the targets.
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

# The stamp holds what it was made from, so that a second run costs nothing and a changed lock reinstalls.
install: $(VENV)/.installed ## Make .venv with every pinned dependency.

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Holdfast needs Python 3.11 or newer, and found none. Name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the pinned dependencies into $(VENV), once; this takes a minute."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## Play the EUR 5,000 website redesign on a real Temporal and a real PostgreSQL.
	@$(BIN)/holdfast run examples/website-redesign.yaml

# In the order of tests/conftest.py, and with bytecode wherever images switch it off: workers and APIs start by the dozen.
test: install ## Run the tests on the embedded servers.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Ctrl-C ends it early; SOAK_SEED=<number> plays one seed again and shortens what fails.
soak: install ## Play random commands against a model of the books for SOAK_MINUTES (10).
	@SOAK_MINUTES="$(SOAK_MINUTES)" SOAK_SEED="$(SOAK_SEED)" $(BIN)/python -m tests.database.books_soak

# RACES_SEED=<number> fires the same commands again; nothing makes the timing the same.
races: install ## Fire conflicting commands at once, at the books and over HTTP, RACES_ROUNDS (5000) times.
	@RACES_ROUNDS="$(RACES_ROUNDS)" RACES_SEED="$(RACES_SEED)" $(BIN)/python -m tests.races

# RECORD=--all writes every history anew, also those whose commands have not changed.
record: install ## Record the histories of this version, which every later one has to replay.
	@$(BIN)/python -m tests.replay.record $(RECORD)

lint: install ## Check formatting, lint rules and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# CHAOS_SEED=<number> plays the same chances again; nothing makes the timing the same.
chaos: install ## A marketplace under load while everything is killed, stopped and lied to, for CHAOS_MINUTES (10).
	@$(BIN)/python -m chaos --minutes $(CHAOS_MINUTES) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED))

bench: install ## Measure settlements, commands and approvals over HTTP; writes benchmarks/results.json.
	@$(BIN)/python -m benchmarks

lock: ## Pin the dependencies again (needs uv).
	uv pip compile --universal --generate-hashes --no-header --no-annotate --all-extras --quiet pyproject.toml --output-file requirements.lock

clean: ## Remove the virtual environment, caches and the embedded stack's data.
	rm -rf $(VENV) .holdfast .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
