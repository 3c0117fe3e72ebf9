# make help lists the targets. Everything is installed below .venv, .demo and .vllm, nothing outside.

SHELL := /bin/sh
.DEFAULT_GOAL := help
export PYTHON

BIN := .venv/bin
# Lines and branches, in percent. The Docker runtime is covered by test-all only.
FLOOR := 85
FLOOR_ALL := 90
COVERAGE := --cov --cov-report=term:skip-covered

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## show hotseat with a real engine (DEMO_EXIT=1: exit when done; DEMO_PORT=8000: port, 0: any free one)
	@scripts/venv.sh .demo demo
	@.demo/bin/python demo/show.py

.PHONY: venv
venv: ## create or refresh .venv with the pinned packages
	@scripts/venv.sh .venv dev

.PHONY: lint
lint: venv ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy demo/engine.py demo/show.py
	$(BIN)/lint-imports

.PHONY: test
test: lint ## all checks and every test that needs only Python packages
	$(BIN)/pytest -n auto -m "not system and not vllm" $(COVERAGE) --cov-fail-under=$(FLOOR)

.PHONY: test-all
test-all: test ## also tests that need system packages (.ci/packages.txt), and the demo
	$(BIN)/pytest -m "system and not vllm" $(COVERAGE) --cov-append --cov-fail-under=$(FLOOR_ALL)
	SOAK_S=60 $(MAKE) --no-print-directory soak
	DEMO_EXIT=1 DEMO_PORT=0 $(MAKE) --no-print-directory demo

.PHONY: test-vllm
test-vllm: venv ## by hand, slow: tests with the real vLLM, built for CPUs (scripts/vllm.sh lists what they need)
	@scripts/vllm.sh
	$(BIN)/pytest -m vllm tests/vllm

.PHONY: test-gpu
test-gpu: ## by hand: two minutes on a machine with an NVIDIA GPU, torch and nvidia-ml-py (PYTHON=, nothing is installed)
	PYTHONPATH=src $(or $(PYTHON),python3) tests/gpu/check_gpu.py

.PHONY: test-driver
test-driver: ## by hand: no call of the CUDA driver before the go (needs cc; PYTHON= with a torch for GPUs, SERVER='vllm serve MODEL')
	PYTHONPATH=src $(or $(PYTHON),python3) tests/gpu/check_driver_calls.py $(SERVER)

.PHONY: format
format: venv ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: venv ## by hand: benchmarks (BENCH=name for one)
	$(BIN)/python -m benchmarks $(BENCH)

.PHONY: turns
turns: venv ## by hand: closed-loop clients on two models that exclude each other; responses and waiting times
	PYTHONPATH=tests $(BIN)/python -m benchmarks.turns

.PHONY: soak
soak: venv ## by hand: 10 minutes of crashes, reloads and impatient clients, then a check for leaks (SOAK_S=60: 1 minute)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.soak

.PHONY: test-lowest
test-lowest: ## by hand: the tests on the lowest versions that pyproject.toml allows
	@scripts/venv.sh .venv-lowest lowest
	.venv-lowest/bin/pytest -n auto -m "not system and not vllm" -p no:cacheprovider tests

.PHONY: fuzz
fuzz: venv ## by hand: coverage-guided fuzzing of untrusted input (FUZZ=edge for one target, FUZZ_S=60 each)
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ) --seconds $(or $(FUZZ_S),60)

.PHONY: mutants
mutants: venv ## by hand, about an hour: mutation testing of core/ (MUTANTS='hotseat.core.policy*' for a part)
	$(BIN)/python -m pip install --quiet mutmut==3.8.1
	PATH="$(CURDIR)/$(BIN):$$PATH" HOTSEAT_BRIEF=1 $(BIN)/mutmut run $(MUTANTS)
	$(BIN)/mutmut results

.PHONY: screenshots
screenshots: venv ## by hand: the pictures of the page in docs/ui, from a scripted scene (needs Chromium)
	$(BIN)/python scripts/screenshots.py

.PHONY: vendor
vendor: ## by hand: fetch the page's libraries anew, as its lock says (needs npm)
	python3 scripts/vendor.py

.PHONY: constraints
constraints: ## pin the latest releases in constraints/
	scripts/constraints.sh

.PHONY: clean
clean: ## remove everything that make created
	rm -rf .venv .demo .fuzz .vllm mutants build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests demo benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

-include deploy/compose/targets.mk
