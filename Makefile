# Every target first builds .venv when it is not there, or when the dependencies changed.
PYTHON ?= python3
ARGS ?=

python := .venv/bin/python
# Two processes, since each computes with one thread; a file stays in one of them, with what its tests share.
pytest := $(python) -m pytest --numprocesses 2 --dist loadfile
installed := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help train test test-slow check gpu-check format

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(installed) ## Train a DQN on Pong; other flags: make train ARGS="--help"
	$(python) -m scripts.train_dqn $(ARGS)

test: $(installed) ## Run the tests, except those marked slow or gpu; one file: make test ARGS=tests/envs/test_atari.py
	$(pytest) $(ARGS)

test-slow: $(installed) ## Run the tests that take minutes each
	$(python) -m pytest -m "slow and not gpu" $(ARGS)

check: $(installed) ## What has to pass before a commit: format, lint, types, tests
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy
	$(pytest) $(ARGS)

gpu-check: $(installed) ## Run every GPU path and its benchmarks; the figures belong into docs/results/gpu.md
	$(python) -m pytest -m gpu $(ARGS)
	$(python) -m scripts.benchmark_replay --device cuda
	$(python) -m scripts.benchmark_dqn --device cuda
	$(python) -m scripts.benchmark_sequence_models --device cuda
	$(python) -m scripts.benchmark_scan --device cuda
	$(python) -m scripts.benchmark_pretraining --device cuda

format: $(installed) ## Rewrite the code in the project's format
	$(python) -m ruff format .
	$(python) -m ruff check --fix .

# The stamp is written last: an interrupted installation is repeated.
$(installed): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(python) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
