# xmppchat: the commands everybody types. `make` alone lists them.
#
# Set-up happens by itself: Debian packages (as root, services never started), then a virtual environment in .venv.

SHELL := /bin/bash
# Debian's Python is an optimised build (about a quarter faster); any other from 3.11 does as well.
PYTHON ?= $(shell for p in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Where `make run` keeps its server.
DIR ?= data/run
DOMAIN ?= localhost
LISTEN ?= 127.0.0.1
# Tests that run at the same time: each has its own servers, ports and folders.
WORKERS ?= 2

.PHONY: help run setup test check faults bench gen docs clients prosody packages clean

help:
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

run: setup ## start a server to chat on (127.0.0.1, domain localhost)
	@test -f $(DIR)/xmppchat.toml || \
		$(BIN)/xmppchat init $(DOMAIN) --dir $(DIR) --listen $(LISTEN) --registration open >/dev/null
	@echo "A server for $(DOMAIN), in $(DIR). Make an account in another terminal (or let your client register one):"
	@echo "    $(BIN)/xmppchat user add you@$(DOMAIN) --config $(DIR)/xmppchat.toml"
	@echo "Then log in with any XMPP client as you@$(DOMAIN), server $(LISTEN); its certificate is self-signed. Ctrl-C stops it."
	@$(BIN)/xmppchat serve --config $(DIR)/xmppchat.toml

setup: $(VENV)/.ready ## build .venv; the command is then .venv/bin/xmppchat

$(VENV)/.ready: pyproject.toml
	@scripts/install-packages python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

packages: ## install the foreign software of the tests and the benchmark (Debian, as root)
	@scripts/install-packages test
	@$(MAKE) --no-print-directory tests/clients/javascript/node_modules

tests/clients/javascript/node_modules: tests/clients/javascript/package-lock.json
	@npm ci --silent --no-audit --no-fund --ignore-scripts --prefix tests/clients/javascript
	@touch $@

test: setup packages check ## everything that must hold: style, types, layers, all tests
	$(BIN)/python -m pytest tests --numprocesses $(WORKERS) --dist worksteal
	$(BIN)/python -m pytest tests/transcripts --server prosody
	$(BIN)/python -m bench.relay

check: setup ## style, types, layers, generated files
	$(BIN)/ruff check .
	$(BIN)/mypy xmppchat bench
	$(BIN)/lint-imports
	$(BIN)/python -m xmppchat.cli.generate --check

gen: setup ## write the generated files (doap.xml, config/xmppchat.toml, docs/reference)
	$(BIN)/python -m xmppchat.cli.generate

clients: setup packages ## only the tests with foreign clients
	$(BIN)/python -m pytest tests/clients

prosody: setup packages ## the transcripts against Prosody, as a second opinion
	$(BIN)/python -m pytest tests/transcripts --server prosody

faults: setup packages ## kill, starve and mistreat the server on both databases; writes docs/faults-report.md
	PYTHONPATH=tests:. $(BIN)/python -m faults --report docs/faults-report.md

bench: setup packages ## measure xmppchat, Prosody and ejabberd; writes docs/benchmarks.md
	$(BIN)/python -m bench

clean: ## remove what was built, data stays
	rm -rf $(VENV) bench/build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
