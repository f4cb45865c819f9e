# Orlop from a fresh clone. `make` alone lists what there is.

VENV := .venv
STAMPS := .cache
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help up down check test test-vm bench lock wheel docs proto clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

up: $(STAMPS)/program ## install, start the node, run examples/hello, say how to reach it
	@$(BIN)/python -m tools.up

down: ## stop it and clean everything that `make up` made
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m tools.down; fi

check: $(STAMPS)/developer ## format, types, import contracts, spelling, unit tests: about a minute
	@$(BIN)/python -m tools.check

test: $(STAMPS)/developer $(STAMPS)/test-packages ## install what the tests need and run every test
	@$(BIN)/python -m tools.test

test-vm: $(STAMPS)/developer $(STAMPS)/test-packages ## the same program in a stock Debian guest: systemd, pure cgroup v2
	@$(BIN)/python -m pytest -q -m vm tests/vm

bench: $(STAMPS)/developer $(STAMPS)/bench-packages ## measure against podman, containerd and CRI-O, print the ratios
	@$(BIN)/python -m bench

docs: $(STAMPS)/developer ## write anew what is generated from the source: docs/cli.md, docs/play.md
	@$(BIN)/python -m tools.docs

proto: $(STAMPS)/developer ## write anew what protoc makes of the .proto files
	@$(BIN)/python -m tools.proto

wheel: $(STAMPS)/developer ## build dist/orlop-*.whl
	@$(BIN)/python -m pip --disable-pip-version-check wheel -q --no-deps --no-build-isolation --wheel-dir dist .

lock: $(STAMPS)/developer ## resolve pyproject.toml into the two lock files anew
	@$(BIN)/python -m tools.lock

clean: ## remove what was built here (the node is left alone: make down)
	rm -rf $(VENV) $(STAMPS) dist

$(STAMPS)/packages: tools/packages.sh
	@sh tools/packages.sh run
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test-packages: tools/packages.sh
	@sh tools/packages.sh test
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/bench-packages: tools/packages.sh
	@sh tools/packages.sh bench
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/program: $(STAMPS)/packages requirements.lock pyproject.toml tools/venv.sh
	@sh tools/venv.sh $(VENV) requirements.lock
	@touch $@

$(STAMPS)/developer: $(STAMPS)/program requirements-dev.lock
	@sh tools/venv.sh $(VENV) requirements-dev.lock
	@touch $@
