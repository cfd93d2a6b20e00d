# What a person runs. Everything happens in .venv, which is made on first use.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE := $(VENV)/.node
RUN := $(BIN)/probe
ARGS ?=
# Behind a run: why make speaks of an error of its own.
TOLD = code=$$?; test $$code = 0 || \
  echo "the probe's exit code is $$code; make has 2 for all of them, so CI calls probe itself" >&2; \
  exit $$code
# Without compiled files each of hundreds of starts compiles the whole of it again (0.4 s).
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help probe smoke lab node_modules selftest certificate test coverage test-long test-cluster test-docs reference docs pictures check format bench bench-peers clean dist

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo '  make probe SCENARIO=cold_start [TARGET=staging] [ARGS="--restarts 60"]'

# pip's exit code decides: a stamp is only left behind by an install that went through.
$(VENV)/.run: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "no virtual environment could be made; on Debian: apt install python3-venv" >&2; exit 2; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …" >&2; exit 2; }
	@echo "installing into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,check]'
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

probe: $(VENV)/.run ## run a scenario: SCENARIO=name [TARGET=name] [ARGS="…"]
	@test -n "$(SCENARIO)" || { echo 'name a scenario: make probe SCENARIO=cold_start' >&2; $(RUN) list; exit 2; }
	@$(RUN) run $(SCENARIO) $(if $(TARGET),--target $(TARGET)) $(ARGS); $(TOLD)

smoke: $(VENV)/.run ## the pre-deploy smoke test: TARGET=name is needed
	@test -n "$(TARGET)" || { echo 'name what is to be tested: make smoke TARGET=staging' >&2; exit 2; }
	@$(RUN) run smoke --target $(TARGET) $(ARGS); $(TOLD)

lab: $(VENV)/.run ## start the lab by itself on 127.0.0.1:8765
	@$(RUN) lab $(ARGS)

selftest: $(VENV)/.run ## every defect of the lab once, and the healthy lab: is each seen? (minutes)
	@$(RUN) selftest $(ARGS)

# A page that tells of misses (exit 1, 3) is as good as any; only one cut short is not copied.
certificate: $(VENV)/.run ## the same ten times and at the least, into docs/certificate.md (three hours)
	@$(RUN) selftest --full $(ARGS); code=$$?; \
	  case $$code in 0|1|3) cp results/certificate/certificate.md docs/certificate.md ;; esac; \
	  exit $$code

# What tests/graphql/server.mjs needs. Where there is no npm, its tests say so and are skipped.
$(NODE)/.stamp: tests/graphql/package.json tests/graphql/package-lock.json | $(VENV)/.run
	@mkdir -p $(NODE) && cp tests/graphql/package.json tests/graphql/package-lock.json $(NODE)/
	@npm ci --prefix $(NODE) --silent --no-audit --no-fund --ignore-scripts || { \
	  echo "npm could not install what tests/graphql/package.json names" >&2; exit 2; }
	@touch $@

node_modules: $(NODE)/.stamp

# A browser for the tests of the page. Where none can be had, they say so and are skipped.
$(VENV)/.browser: | $(VENV)/.run
	@command -v chromium > /dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "installing chromium …" && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; \
	} || echo "there is no chromium, and it was not installed: some tests will be skipped" >&2
	@touch $@

test: $(VENV)/.dev $(VENV)/.browser $(if $(shell command -v npm),$(NODE)/.stamp) ## the tests
	@# Four at a time, since most of them wait; then those that want a machine for themselves.
	@$(BIN)/python -m pytest -n 4 --dist loadfile -m "not long and not alone and not cluster and not docs" $(ARGS)
	@$(BIN)/python -m pytest -m "alone and not long and not cluster and not docs" $(ARGS)

coverage: $(VENV)/.dev $(VENV)/.browser $(if $(shell command -v npm),$(NODE)/.stamp) ## the same, with coverage (slower by half)
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run -m pytest -n 2 --dist loadfile -m "not long and not alone and not cluster and not docs" $(ARGS)
	@$(BIN)/python -m coverage run -m pytest -m "alone and not long and not cluster and not docs" $(ARGS)
	@# A probe that a test has killed leaves a torn data file, which is passed over.
	@$(BIN)/python -W ignore -m coverage combine --quiet
	@$(BIN)/python -W ignore -m coverage report

test-long: $(VENV)/.dev ## repeats and endurance
	@$(BIN)/python -m pytest -m long $(ARGS)

test-cluster: $(VENV)/.dev ## workers on three nodes of Ray, here (installs it; minutes)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cluster]'
	@$(BIN)/python -m pytest -m cluster $(ARGS)

test-docs: $(VENV)/.dev $(if $(shell command -v npm),$(NODE)/.stamp) ## every command that the docs show (half an hour)
	@$(BIN)/python -m pytest -m docs $(ARGS)

reference: $(VENV)/.run ## docs/reference/ anew from the code
	@$(BIN)/python -m docs.making.reference

docs: reference ## the docs as a site in build/site (installs mkdocs); a broken link fails
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@$(BIN)/python -m mkdocs build --quiet --strict --clean -f docs/making/mkdocs.yml
	@echo "build/site/index.html"

pictures: $(VENV)/.run ## docs/pictures/ anew from runs of the lab (needs chromium; minutes)
	@$(BIN)/python -m docs.making.pictures

check: $(VENV)/.dev ## the gate: format, lint, types, import layers, dead code
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/vulture
	@$(RUN) validate > /dev/null
	@echo "check: all good"

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

bench: $(VENV)/.bench ## measure against other clients: [ARGS="--quick"]
	@$(BIN)/python -m benchmarks.run $(ARGS)

bench-peers: $(VENV)/.bench ## measure against k6, Artillery, Locust and Tsung: [ARGS="--quick"]
	@$(BIN)/python -m benchmarks.peers.run $(ARGS)

dist: $(VENV)/.dev ## build the wheel
	@$(BIN)/python -m hatchling build

clean: ## remove what was built and measured, but not the runs
	@rm -rf $(VENV) dist build *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache \
	  .pytest_cache .hypothesis benchmarks/.build
