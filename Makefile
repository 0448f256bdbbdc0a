# policyscope: `make demo` shows what it does, `make check` is what must pass before a change lands.

PYTHON ?= python3
BIN := .venv/bin
TORCH := $(shell grep '^torch==' constraints.txt)

# Every install, the isolated build of the package itself included, takes the pinned versions.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Versions are chosen in constraints.txt, not announced by the tool.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench browser bundle clean

help:
	@echo 'make demo    train, record, decompose, explain and intervene on a CartPole agent; writes a report'
	@echo 'make test    all tests'
	@echo 'make check   format, lint, types, floors and tests'
	@echo 'make format  rewrite the code as the formatter and the linter want it'
	@echo 'make bench   every speed against what it is promised against, as one table'
	@echo 'make clean   remove the virtual environment and caches'

demo: .venv/runtime.stamp
	$(BIN)/policyscope demo

test: .venv/dev.stamp browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: .venv/dev.stamp bundle
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(MAKE) test

format: .venv/dev.stamp
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# What is committed of the studio's pages must be what their sources build to. Where they cannot be
# built, a test still compares the sources with those that the committed pages name.
bundle:
	@if ! command -v npm >/dev/null || ! (cd web && npm install --no-save --silent >/dev/null 2>&1); then \
		echo 'The pages of the studio cannot be built here (npm and its registry are missing).'; \
	else \
		(cd web && npm run --silent build) && git diff --exit-code --stat -- policyscope/studio/static; \
	fi

# The studio is tested in a real browser. Where none can be had those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
		echo 'Installing Chromium for the tests of the studio.'; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	} || echo 'No Chromium, and none could be installed: the tests of the studio will be skipped.'

bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and alone, by its exact pin: a range resolved together with the rest could pick
# another build of it, several gigabytes larger.
.venv/runtime.stamp: pyproject.toml constraints.txt
	@echo 'Installing into .venv: about a minute, this once.'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev.stamp: .venv/runtime.stamp
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
