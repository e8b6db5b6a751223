## make demo    train three variants on the bundled CIFAR-10 sample, then write and print the comparison
## make check   lint, format check, types and the fast tests: for daily work
## make test    lint, format check, types and every test
## make lint    lint, format check and types only
## make clean   remove .venv, caches and build leftovers; outputs/ and data/ stay
##
## Each target sets up .venv by itself. PYTHON=/path/to/python names the interpreter (3.11, 3.12 or 3.13).

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
REPORT := outputs/demo/report

CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Threads that wait spin by default; beside other jobs that costs time, see docs/performance.md.
export GOMP_SPINCOUNT ?= 1000
# Compiled bytecode is kept even where the environment forbids it: each test worker and each process that a test starts
# would compile all of the code and, of tests, rewrite the assertions anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo check test lint clean

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

demo: $(VENV)/installed
	$(BIN)/python run.py -cn demo
	@$(BIN)/python -m analysis report outputs/demo --out $(REPORT) 2> $(REPORT).log || { cat $(REPORT).log; exit 1; }
	@echo && $(BIN)/python -m analysis table outputs/demo
	@echo && echo "The report, with curves: $(REPORT)/report.html, and as Markdown: $(REPORT)/report.md"

# Workers of one thread, since two threads gain little on tensors of a few numbers; each takes seconds to import and to
# collect. Slow tests wait at times, so that they get one worker more than cores.
CORES := $$(cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 8 ? cores : 8)))
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist worksteal --numprocesses

check: lint
	$(PYTEST) $(CORES) -m "not slow"

test: lint
	$(PYTEST) $$(($(CORES) + 1))

lint: $(VENV)/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -type d \( -name .git -o -path ./outputs -o -path ./data \) -prune -o \
	    -type d -name __pycache__ -prune -exec rm -rf {} +

# A stamp is written only after its step has ended well, so a killed step is done again.
$(VENV)/installed: pyproject.toml setup.py $(VENV)/created
	$(BIN)/python -m pip install --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml setup.py $(VENV)/created
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $(VENV)/installed $@

$(VENV)/created:
	@set -e; \
	if $(BIN)/python -c '$(SUITABLE)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    echo "Using the $(VENV) that is already here."; touch $@; exit 0; \
	fi; \
	chosen=; \
	for candidate in $(CANDIDATES); do \
	    if "$$candidate" -c '$(SUITABLE)' 2>/dev/null; then chosen=$$candidate; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "No Python 3.11, 3.12 or 3.13 among: $(CANDIDATES)." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
	fi; \
	echo "Creating $(VENV) with $$chosen ($$("$$chosen" --version))."; \
	if "$$chosen" -c 'import ensurepip' 2>/dev/null; then \
	    "$$chosen" -m venv --clear $(VENV); \
	else \
	    "$$chosen" -m venv --clear --without-pip $(VENV) && \
	    "$$chosen" -m pip --python $(BIN)/python install pip || { \
	        echo "$$chosen can make no virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	fi; \
	touch $@
