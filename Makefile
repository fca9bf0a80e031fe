# `make` lists the targets. Everything runs in .venv, which `make setup` makes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
DATA ?=
WITHOUT_KAFKA := $(BIN)/pytest -m "not kafka" --numprocesses auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup kafka demo demo-lifecycle check format format-check lint types test test-unit clean
.PHONY: bench-accuracy bench-fresh bench-trainer bench-refresh bench-lifecycle bench-archive bench-index bench-ranking bench-training bench-ablation bench-stream bench-recovery bench-memory bench-latency bench-scale bench-swap
.PHONY: faults bench bench-tables bench-chart

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) kafka  ## Make .venv with everything in it, and fetch Apache Kafka

# Built aside and marked last: a set-up that was interrupted is taken up again.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "nextclick needs Python 3.11 or newer, $(PYTHON) is older; name another: make setup PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

kafka: $(STAMP)
	@if [ -z "$$NEXTCLICK_BOOTSTRAP_SERVERS" ]; then \
		deploy/kafka/install-java.sh && $(BIN)/nextclick broker --fetch; fi

demo: setup  ## Show the product at work in about a minute (DATA=folder: on your clicks)
	$(BIN)/nextclick demo $(if $(DATA),--data "$(DATA)")

demo-lifecycle: setup  ## Show how snapshots live in three minutes: refreshed, refused, rolled back; new items
	$(BIN)/nextclick demo --lifecycle $(ARGS)

check: setup format-check lint types test  ## Everything that must pass: formatting, linters, types, tests

format: $(STAMP)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

format-check: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)  ## Lint
	$(BIN)/ruff check .

types: $(STAMP)  ## Check types, strictly
	$(BIN)/mypy

test: setup  ## All tests: first those without Kafka, on every core, then those on an Apache Kafka of their own
	@failed=; \
	echo "1 of 2: the tests that need no Kafka"; $(WITHOUT_KAFKA) || failed="$$failed those without Kafka"; \
	echo "2 of 2: the tests on Kafka"; $(BIN)/pytest -m kafka || failed="$$failed those on Kafka"; \
	if [ -n "$$failed" ]; then echo "tests failed:$$failed; see above" >&2; exit 1; fi

test-unit: $(STAMP)  ## The tests that need no Kafka
	$(WITHOUT_KAFKA)

faults: setup  ## Every fault of the table against real Kafka, some three hours (ARGS=--short: 30 minutes)
	$(BIN)/python -m tests.faults $(ARGS)

bench-accuracy: $(STAMP)  ## Recall and MRR on three public logs, three seeds, with peers beside, in half an hour
	$(BIN)/python -m benchmarks.accuracy $(ARGS)

bench-index: $(STAMP)  ## Recall and cost of every index at every size of catalogue (ARGS=… for its flags)
	$(BIN)/python -m benchmarks.index $(ARGS)

bench-ranking: $(STAMP)  ## What the served ranking costs a click beside the LSTM alone
	$(BIN)/python -m benchmarks.ranking $(ARGS)

bench-training: $(STAMP)  ## How fast a model is trained, how soon it is good, and the memory of 10 million clicks
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-ablation: $(STAMP)  ## What each part of the model is worth, on three logs
	$(BIN)/python -m benchmarks.ablation $(ARGS)

bench-fresh: setup  ## How soon a new item is recommended, and how many clicks on new items are foretold
	$(BIN)/python -m benchmarks.fresh $(ARGS)

bench-stream: setup  ## The whole job against an agent that forwards the bytes and against a naive app
	$(BIN)/python -m benchmarks.stream $(ARGS)

bench-recovery: setup  ## How fast a million sessions are read again after their folder was lost, and how soon a restart serves
	$(BIN)/python -m benchmarks.recovery $(ARGS)

bench-memory: setup  ## What open sessions take: record, disk, memory and open files of the worker
	$(BIN)/python -m benchmarks.memory $(ARGS)

bench-latency: setup  ## Latency against load, from due to answered, at three sizes of catalogue
	$(BIN)/python -m benchmarks.latency $(ARGS)

bench-scale: setup  ## Rate and CPU per click against the size of the catalogue, and with two workers
	$(BIN)/python -m benchmarks.scale $(ARGS)

bench-archive: setup  ## Ten million clicks read from the archive, a million from the topic and into the archive
	$(BIN)/python -m benchmarks.archive $(ARGS)

bench-trainer: setup  ## A cycle on 10 million clicks and a quick refresh, to the worker's swap; memory
	$(BIN)/python -m benchmarks.trainer $(ARGS)

bench-refresh: $(STAMP)  ## How good answers stay when what serves is refreshed, beside training from the start
	$(BIN)/python -m benchmarks.refresh $(ARGS)

bench-lifecycle: setup  ## Bad snapshots of three kinds: refused, and forced as canary, how soon they are gone
	$(BIN)/python -m benchmarks.lifecycle $(ARGS)

bench-swap: setup  ## How long clicks wait because of 100 swaps under load, and the memory after them
	$(BIN)/python -m benchmarks.swap $(ARGS)

bench-tables: $(STAMP)  ## Rewrite the tables of the README files from benchmarks/results
	$(BIN)/python -m benchmarks.tables

bench-chart: $(STAMP)  ## Redraw docs/benchmarks.svg from benchmarks/results
	$(BIN)/python -m benchmarks.chart

bench: setup  ## All benchmarks, one after the other, in two hours
	@for name in stream latency scale recovery memory swap index; do $(MAKE) --no-print-directory bench-$$name || exit; done

clean:  ## Remove what was made here, .venv included
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build *.egg-info
