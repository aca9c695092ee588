# Everything here sets itself up: each target makes the virtual environment it needs from the locks.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
PY := $(VENV)/bin/python
CODE := loader bundler tests scripts
# What `make test` asks of this machine: nothing, or `all` (a missing engine is then a failure).
REQUIRE ?=
# How long `make fuzz` runs.
FUZZ_SECONDS = $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),60)
PYTEST_ARGS ?=

.PHONY: help
help: ## show this list
	@echo 'Airlock: signed container images across an air gap. Targets:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environments -----------------------------------------------------------------------------------

$(VENV)/.locked: requirements/dev.txt scripts/make-venv.sh
	@scripts/make-venv.sh $(VENV) requirements/dev.txt
	@touch $@

# What PyInstaller may see: the loader's own closure and nothing else.
.cache/frozen-venv/.locked: requirements/freeze.txt scripts/make-venv.sh scripts/find-python.sh
	@scripts/make-venv.sh .cache/frozen-venv requirements/freeze.txt --shared
	@touch $@

# The same for airlock-push, which speaks to registries and judges nothing.
.cache/frozen-push-venv/.locked: requirements/freeze-push.txt scripts/make-venv.sh scripts/find-python.sh
	@scripts/make-venv.sh .cache/frozen-push-venv requirements/freeze-push.txt --shared
	@touch $@

# Editable: the commands .venv/bin/airlock and .venv/bin/airlock-loader run this tree.
$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	@$(PY) -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: venv
venv: $(VENV)/.ready ## make .venv from the hash-pinned lock

# --- what people run --------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.ready ## pack, tamper, refuse, load: the main job, with no daemon and no root
	@$(PY) scripts/demo.py

.PHONY: test
test: $(VENV)/.ready ## every test that can run here, and a list of what is missing (REQUIRE=all: nothing may be)
	@AIRLOCK_REQUIRE=$(REQUIRE) $(PY) -m pytest -m 'not internet' $(PYTEST_ARGS)

.PHONY: engines
engines: ## install the real engines and tools that tests compare with (root on Debian or Ubuntu)
	@scripts/engines.sh

.PHONY: frozen
frozen: .cache/frozen-venv/.locked .cache/frozen-push-venv/.locked ## both programs as self-contained folders, packed: dist/airlock-*.tar.gz
	@.cache/frozen-venv/bin/python scripts/freeze.py airlock-loader
	@.cache/frozen-push-venv/bin/python scripts/freeze.py airlock-push

.cache/fuzz-venv/.locked: requirements/fuzz.txt scripts/make-venv.sh
	@scripts/make-venv.sh .cache/fuzz-venv requirements/fuzz.txt
	@touch $@

# Each door for a quarter of the time; new inputs stay in .cache/fuzz, and so does what crashed.
.PHONY: fuzz
fuzz: .cache/fuzz-venv/.locked ## any bytes at the doors for bundles, checkpoints, certificates, logs (SECONDS=60)
	@for door in bundle checkpoint certificate growth; do \
		.cache/fuzz-venv/bin/python tests/fuzz/fuzz.py $$door .cache/fuzz/$$door \
			-max_total_time=$$(( $(FUZZ_SECONDS) / 4 )) || exit 1; done

# What AIRLOCK_SOAK=1 makes longer; the rest of the faults is the same every time.
SOAKED := tests/e2e/test_fault_*.py tests/e2e/test_client_faults.py tests/e2e/test_loader_faults.py \
	tests/e2e/test_promote_faults.py tests/unit/bundler/push/test_push_serve.py

.PHONY: soak
soak: $(VENV)/.ready ## every fault at every system call, function and moment, not a sample (hours)
	@AIRLOCK_SOAK=1 AIRLOCK_REQUIRE=$(REQUIRE) $(PY) -m pytest -m 'not internet' $(SOAKED) $(PYTEST_ARGS)

.PHONY: first-hour
first-hour: $(VENV)/.ready ## docs/first-hour.md typed on a bare Debian, compared with what is seen (root, make frozen)
	@$(PY) scripts/first_hour.py

.PHONY: bench
bench: $(VENV)/.ready ## time and memory against the peers, side by side, as ratios
	@$(PY) scripts/bench.py

.PHONY: check
check: $(VENV)/.ready ## ruff, mypy --strict, import contracts, architecture tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(CODE)
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -q tests/architecture

.PHONY: sabotage
sabotage: $(VENV)/.ready ## switch off each step of docs/verification.md in turn; a test must notice each
	@$(PY) scripts/sabotage.py

.PHONY: lock
lock: ## make requirements/*.txt again from pyproject.toml
	@scripts/lock.sh

.PHONY: commands
commands: $(VENV)/.ready ## write the reference in docs/commands.md from the parsers
	@$(PY) scripts/commands.py

.PHONY: errors
errors: $(VENV)/.ready ## write docs/errors.md from the error classes
	@$(PY) scripts/errors.py

.PHONY: lists
lists: errors .cache/frozen-venv/.locked .cache/frozen-push-venv/.locked ## write again what the architecture tests compare with
	@$(PY) scripts/third_party.py
	@.cache/frozen-venv/bin/python scripts/freeze.py airlock-loader --write-list
	@.cache/frozen-push-venv/bin/python scripts/freeze.py airlock-push --write-list

.PHONY: clean
clean: ## remove what the targets made, but for .venv and .cache
	rm -rf build dist .demo
