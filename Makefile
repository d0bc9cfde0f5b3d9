# Everything starts here; `make help` lists it. PYTHON=... chooses the interpreter that makes the environment.
VENV := .venv
BIN := $(VENV)/bin
export PYTHON

# Packaged daemons live in sbin, which is not on every user's PATH; what was built or installed here comes last.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:$(CURDIR)/.cache/bin:$(CURDIR)/$(BIN)

TREES := $(wildcard schemas context_store box_agent hub examples benchmarks tests)
WEB := hub/dashboard/web
WEB_SOURCES := $(shell find $(WEB) -type f -not -path '*/node_modules/*' 2>/dev/null)
DASHBOARD := $(if $(wildcard $(WEB)/package.json),.cache/stamps/dashboard)
INSTALLED := $(VENV)/.installed
# Tests wait for servers and processes as much as they compute: one worker more than there are processors.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 3 ? n + 1 : 4)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check lint fmt bench lock wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) .cache/stamps/nats $(DASHBOARD) ## virtual environment with the locked packages, nats-server, built dashboard

demo: setup ## run the main job; PROJECT=dir repairs your own project, DEMO_EXIT=1 ends by itself
	@$(BIN)/python -m examples.repair $(PROJECT)

test: setup .cache/stamps/servers ## the whole test suite, on real servers (ARGS=... goes to pytest)
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

check: lint ## format, lint, types, import contracts, fast tests: under a minute
	@$(BIN)/python -m pytest -q tests/unit tests/architecture

lint: $(INSTALLED) $(DASHBOARD)
	@$(BIN)/ruff format --check $(TREES)
	@$(BIN)/ruff check $(TREES)
	@$(BIN)/mypy $(TREES)
	@$(BIN)/lint-imports
	@$(if $(DASHBOARD),npm run check --prefix $(WEB) --silent)

fmt: $(INSTALLED) ## format the code and mend what the linter can mend
	@$(BIN)/ruff format $(TREES)
	@$(BIN)/ruff check --fix $(TREES)

bench: setup .cache/stamps/alternatives ## benchmarks beside their baselines; ONLY=name,... runs some
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

lock: ## resolve the dependencies anew into the lock files
	@sh scripts/lock.sh

wheel: setup ## build the wheel, dashboard included, into dist/
	@rm -rf dist
	@$(BIN)/python -m build --wheel --no-isolation

clean: ## remove the environment, caches and everything built
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf $(WEB)/node_modules hub/dashboard/static
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.cache/stamps/nats: scripts/ensure_nats_server.sh scripts/system_package.sh scripts/go.sh
	@sh scripts/ensure_nats_server.sh
	@mkdir -p $(@D) && touch $@

.cache/stamps/servers: scripts/ensure_test_servers.sh scripts/ensure_nats_server.sh $(wildcard tests/servers/ferretdb/*)
	@sh scripts/ensure_test_servers.sh
	@mkdir -p $(@D) && touch $@

.cache/stamps/alternatives: scripts/ensure_alternatives.sh scripts/system_package.sh
	@sh scripts/ensure_alternatives.sh
	@mkdir -p $(@D) && touch $@

.cache/stamps/dashboard: $(INSTALLED) scripts/build_dashboard.sh $(WEB_SOURCES)
	@sh scripts/build_dashboard.sh $(VENV)
	@mkdir -p $(@D) && touch $@
