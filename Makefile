# Every command sets up what it needs: a machine with Python 3.11 to 3.13 and make is enough.
#
#   make demo        train a character model, sample from it and draw it, e.g. make demo ARGS="--budget 60 --out run"
#   make test        run the tests without the full matrix; WORKERS=0 runs them in one process,
#                    ARGS="--seed 3" with other random numbers
#   make test-all    run all tests
#   make lint        check the format (ruff format), the code (ruff check) and the types (mypy)
#   make mutants     put faults into the derivative rules on purpose: each must make a test fail
#   make fuzz        run random programs, plain beside compiled, e.g. make fuzz ARGS="functions --count 5000"
#   make soak        long runs: nothing grows, nothing is lost; 30 minutes, ARGS="--minutes 1 --kills 5" for less
#   make dist        write the source distribution and the wheel to dist/, and look that no file is missing
#   make matrix      test the wheel with the lowest and the newest versions of what it needs, each row in an
#                    environment of its own, e.g. make matrix ARGS="oldest plain"; tests/matrix.py has the rows
#   make coverage    measure which branches of core/ and ops/ some tests reach; below the floor it fails
#   make bench       time the package beside the peers that are installed, e.g.
#                    make bench ARGS="sequences --quick --cells LSTM --threads 1"; ARGS=--help lists the
#                    options, and .venv/bin/python -m pip install -e ".[bench]" installs the peers
#   make docs        write the pages as a site with a reference of all public names: site/index.html
#   make clean       remove what make and the tools have made, and leave what the demo wrote
#
# Options of a command go into ARGS. PYTHON=/path/to/python chooses the interpreter for a new .venv.
# CONTRIBUTING.md says how to run one test.

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint mutants fuzz soak dist matrix coverage bench docs clean

VENV := .venv
DIST := dist
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
WORKERS ?= 2
PYTEST_OPTIONS := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --timeout 600
# The tests that reach core/ and ops/ most; the floors are what was measured, rounded down.
COVERED := primitives tape tensor numpy_dispatch linalg order elementary arranging assignment contracting making transforms \
    second_derivatives anomaly guards misuse functional losses scalar_math errors names_of_values activations_and_layers \
    jit_values training_step_edges drawing_loops steps_at_once keywords scattering counting places windows
SUPPORTED := (3, 11) <= sys.version_info[:2] < (3, 14)

# What was installed for another folder (a copied checkout), or for an interpreter that has gone, is not there.
ifneq ($(wildcard $(STAMPS)),)
  ifneq ($(shell $(BIN)/python -c "print('works')" 2>/dev/null; cat $(STAMPS)/folder 2>/dev/null),works $(CURDIR))
    $(shell rm -rf $(STAMPS))
  endif
endif

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

demo: $(STAMPS)/draw
	$(BIN)/tinygrad-rnn demo $(ARGS)

test: $(STAMPS)/test
	$(BIN)/python -m pytest -m "not full" $(PYTEST_OPTIONS) $(ARGS)

test-all: $(STAMPS)/test
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) $(ARGS)

lint: $(STAMPS)/lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

mutants: $(STAMPS)/test
	$(BIN)/python -m tests.mutants $(ARGS)

fuzz: $(STAMPS)/test
	$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(STAMPS)/test
	$(BIN)/python -m tests.soak $(ARGS)

dist: $(STAMPS)/folder
	rm -rf $(DIST)
	$(BIN)/python -m tests.matrix --build $(DIST)

matrix: $(STAMPS)/folder
	$(BIN)/python -m tests.matrix $(ARGS)

coverage: $(STAMPS)/test
	$(BIN)/python -m coverage run -m pytest -m "not full" $(COVERED:%=tests/test_%.py) $(ARGS)
	$(BIN)/python -m coverage report --include="tinygrad_rnn/core/*" --fail-under=97
	$(BIN)/python -m coverage report --include="tinygrad_rnn/ops/*" --fail-under=94

bench: $(STAMPS)/base
	$(BIN)/python -m tests.benchmarks $(ARGS)

docs: $(STAMPS)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

# --- set-up: one stamp for each set of extras, made after the installation has succeeded -------------------------------

INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install

$(STAMPS)/base: pyproject.toml | $(STAMPS)/folder
	$(INSTALL) -e .
	@touch $@

# Where there is no wheel of pygraphviz, pictures use what else is installed.
$(STAMPS)/draw: pyproject.toml | $(STAMPS)/folder
	@echo '$(INSTALL) -e ".[draw]"'; \
	$(INSTALL) --only-binary pygraphviz -e ".[draw]" || { \
	    echo "The draw extra could not be installed; going on without it."; \
	    $(INSTALL) -e .; \
	}
	@touch $@

$(STAMPS)/test $(STAMPS)/lint $(STAMPS)/docs: pyproject.toml | $(STAMPS)/folder
	$(INSTALL) -e ".[$(notdir $@)]"
	@touch $@

# An environment that works is kept, also one that make did not create.
$(STAMPS)/folder:
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    $(BIN)/python -c 'import sys; sys.exit(not $(SUPPORTED))' || { \
	        echo "$(VENV) has another Python than 3.11 to 3.13: run 'make clean' first." >&2; exit 1; }; \
	else \
	    unfit=; \
	    for python in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3 python); do \
	        "$$python" -c 'import sys; sys.exit(not $(SUPPORTED))' >/dev/null 2>&1 || continue; \
	        "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1 && break; \
	        unfit="$$unfit $$python"; \
	    done; \
	    if ! "$$python" -c 'import sys, venv, ensurepip; sys.exit(not $(SUPPORTED))' >/dev/null 2>&1; then \
	        if [ -n "$$unfit" ]; then \
	            echo "Found$$unfit, but without the modules venv and ensurepip, which make .venv and its pip." >&2; \
	            echo "On Debian and Ubuntu they are in a package of their own, such as python3-venv." >&2; \
	        else \
	            echo "Found no Python 3.11, 3.12 or 3.13$(if $(PYTHON), as $(PYTHON)). Name one: make PYTHON=/path/to/python" >&2; \
	        fi; \
	        exit 1; \
	    fi; \
	    echo "$$python -m venv --clear $(VENV)"; \
	    "$$python" -m venv --clear $(VENV) || { echo "$$python could not make $(VENV); its message is above." >&2; exit 1; }; \
	fi
	@mkdir -p $(STAMPS)
	@echo "$(CURDIR)" > $@

clean:
	rm -rf $(VENV) .coverage build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
