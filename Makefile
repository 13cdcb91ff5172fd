# Everything that a person or a CI machine runs. Needs python3 (3.11 or later) with its venv
# module, make and git; the rest is installed into .venv, pinned by constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# In .venv, so that deleting .venv is all it takes to start afresh.
INSTALLED := $(VENV)/installed-stamp
OUT := traceview-out
DEMO := sample_traces/fgraph-6.12-neoverse-n1.perfetto

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check golden lab clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 15

demo: $(INSTALLED) ## analyse a bundled Perfetto trace; dashboard, mail text and tables go to traceview-out/
	@mkdir -p $(OUT)
	@$(BIN)/traceview analyze $(DEMO) --parquet $(OUT) --html $(OUT)/dashboard.html --force
	@$(BIN)/traceview analyze $(DEMO) --mail -o $(OUT)/mail.txt --force

test: $(INSTALLED) ## run the tests
	$(BIN)/pytest -n 2 --dist loadfile -rs $(PYTEST_ARGS)

check: $(INSTALLED) ## formatting, lint, types, spelling, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(MAKE) test

golden: $(INSTALLED) ## render what README.md shows anew
	$(BIN)/python -m tests.shown

# Root may add LAB_SETUP=--install. What is fetched and built is kept in $TRACEVIEW_LAB, else ~/.cache/traceview-lab.
lab: $(INSTALLED) ## boot real arm64 kernels under QEMU and test recording in them (20 minutes)
	$(BIN)/python -m sample_traces.lab setup $(LAB_SETUP)
	$(BIN)/pytest -m lab -rs -v $(PYTEST_ARGS)
	$(BIN)/python -m sample_traces.lab samples

clean: ## remove .venv, caches and what the demo wrote
	rm -rf $(VENV) $(OUT) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
