# The only commands anyone has to remember. `make help` lists them.

PYTHON ?= python3.11
CONFIG ?= config.json
STORE ?= sqlite
DEBIAN_PACKAGES := python3.11-venv openjdk-17-jdk-headless maven leiningen
# The environments of config.json by their store.
ENVIRONMENT_sqlite := local
ENVIRONMENT_hbase := hbase
ENVIRONMENT := $(or $(ENVIRONMENT_$(STORE)),$(error STORE is sqlite or hbase, not $(STORE)))
AUTOTAG := .venv/bin/autotag --config $(CONFIG) -e $(ENVIRONMENT)
UV := .venv/bin/uv
UV_VERSION := 0.13.8
COMPILE := $(UV) pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
# All but spark, which is 450 MB that only its tests and benches need on one machine.
EXTRAS := worker formats cluster build parquet train s3 dev
WORKER := build/virtualenvs/tagging

.DEFAULT_GOAL := help
.PHONY: help setup run test check docs lint types bench bench-store bench-tags bench-train up down clean lock debian

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13

setup: debian .venv/.ready $(WORKER)/.ready build/bundles/.default ## set everything up, start nothing
	@$(AUTOTAG) cluster prepare

run: setup ## start the local cluster, tag real photos through it, show the tags; leaves it up (STORE=hbase)
	@$(AUTOTAG) demo

# Several processes share the tests out; tests/conftest.py says which belong together, and which come first.
test: setup .venv/.spark lint types ## run every test, those on the real servers too
	@.venv/bin/autotag -e hbase cluster prepare
	tests/run

check: lint types build/bundles/.default ## check style and types, run the tests that need no server
	tests/run -m "not servers"

docs: .venv/.ready ## write docs/settings.md, docs/commands.md and docs/reasons.md from the code
	.venv/bin/python -m tools.write_docs

lint: .venv/.ready ## check style and format
	.venv/bin/ruff check
	.venv/bin/ruff format --check

types: .venv/.ready ## check types
	.venv/bin/mypy

bench: setup ## measure against the alternatives, write bench/results.md (PHOTOS=folder of photos)
	.venv/bin/python -m bench.run $(PHOTOS)

bench-store: setup ## measure the store on a real HBase, write bench/store.md
	.venv/bin/python -m bench.store

bench-tags: setup ## measure the tags of ordinary photos, write bench/tags.md (DATA=folder of everyday, photos, caltech101)
	.venv/bin/python -m bench.tags $(DATA)

up: setup ## start the local cluster (STORE=hbase: with HBase)
	@$(AUTOTAG) cluster up

down: .venv/.ready ## stop the local cluster and everything that runs on it
	@$(AUTOTAG) cluster down

bench-train: setup .venv/.spark ## measure training, backfill and model swap, write bench/train.md (TRAIN=caltech101 folder)
	.venv/bin/python -m bench.train $(TRAIN)

clean: ## stop the cluster, remove what was built; keeps no tags and no queue
	@[ ! -x .venv/bin/autotag ] || $(AUTOTAG) cluster down
	rm -rf build .venv _build _resources

lock: .venv/.ready ## pin the newest versions of the dependencies that pyproject.toml allows
	$(COMPILE) --upgrade $(patsubst %,--extra %,$(EXTRAS)) -o requirements.lock pyproject.toml
	$(COMPILE) --extra spark -c requirements.lock -o spark.lock pyproject.toml
	$(COMPILE) --extra worker --extra formats -c requirements.lock -o virtualenvs/tagging.txt pyproject.toml

debian:
	@if command -v javac >/dev/null && command -v mvn >/dev/null && command -v lein >/dev/null \
	  && $(PYTHON) -c 'import ensurepip' 2>/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(DEBIAN_PACKAGES) >/dev/null; \
	else \
	  echo "Debian packages are missing. Run: sudo apt-get install -y $(DEBIAN_PACKAGES)"; exit 1; \
	fi

.venv/.ready: requirements.lock pyproject.toml | debian
	@echo "installing the Python packages into .venv"
	@[ -x .venv/bin/pip ] || $(PYTHON) -m venv .venv
	@.venv/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) pip sync -q --python .venv/bin/python requirements.lock
	@$(UV) pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/.spark: spark.lock .venv/.ready
	@echo "installing Spark into .venv"
	@$(UV) pip install -q --python .venv/bin/python -r spark.lock
	@touch $@

# A worker's environment has third-party packages only: what runs is what was in the submitted jar.
$(WORKER)/.ready: virtualenvs/tagging.txt .venv/.ready
	@echo "installing the workers' Python packages into $(WORKER)"
	@[ -x $(WORKER)/bin/python ] || $(PYTHON) -m venv --without-pip $(WORKER)
	@$(UV) pip sync -q --python $(WORKER)/bin/python virtualenvs/tagging.txt
	@touch $@

# Built again when what it is made by changes; the same result is published once.
build/bundles/.default: autotag/bundles/build.py autotag/bundles/wheels.lock $(wildcard models/*.py models/everyday/*) models/classes.tsv | .venv/.ready
	@.venv/bin/autotag model build
	@touch $@
