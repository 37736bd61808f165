# Two commands for a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CHROMIUM := $(shell command -v chromium 2>/dev/null)

# CIFAR-10 for `make reproduce`: a hub id, or a folder with train.parquet and test.parquet.
CIFAR10 ?= uoft-cs/cifar10
# Sizes that a core manages in about an hour; the papers' own are 50,000 images, 200 epochs and all six studies.
REPRODUCE ?= --examples 5000 --epochs 6 --threads 1 --studies keep-fraction init-correlation label-noise

# Other Pythons that `make test-matrix` tries, where they are found.
PYTHONS ?= python3.10 python3.12 python3.13

.PHONY: help demo test test-slow test-matrix lint types install browser wheel docs reproduce clean

help:
	@echo "make demo       install, then run datadiet on scikit-learn's digits"
	@echo "make test       install, then lint, types and all fast tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make test-matrix  tests of loops under the lowest and newest versions, with TRL and PEFT, and other Pythons"
	@echo "make wheel      build the wheel and run it outside this folder"
	@echo "make docs       build the documentation into site/"
	@echo "make reproduce  the papers' experiments on part of CIFAR-10, as docs/reproduction.md (an hour)"

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip  # that of Python 3.10 cannot build seqeval
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

install: $(VENV)/installed-test

demo: $(VENV)/installed
	$(BIN)/datadiet run digits --out runs/digits

# The page is tested in a real browser where there is one; as root on Debian, it is installed.
browser:
ifeq ($(CHROMIUM),)
	-@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; fi
endif

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

types: $(VENV)/installed-test
	$(BIN)/mypy

# One thread a process: two processes with two threads each wait for each other on two cores, the longer the busier these.
test: $(VENV)/installed-test browser lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -q

test-slow: $(VENV)/installed-test
	$(BIN)/pytest -q -m slow --timeout 7200
	$(BIN)/pytest -q --hypothesis-profile=searching --timeout 7200 -m 'hypothesis and not slow'

# Environments of its own, .venv-low and so on: several gigabytes each where torch comes with CUDA.
test-matrix:
	$(PYTHON) tests/matrix.py low high trl --pythons $(PYTHONS)

wheel: $(VENV)/installed-test
	rm -rf dist && $(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv --clear $(VENV)-wheel
	$(VENV)-wheel/bin/pip install --quiet --constraint constraints.txt dist/*.whl
	cd / && $(abspath $(VENV)-wheel)/bin/datadiet --version

docs:
	$(PYTHON) -m venv $(VENV)-docs && $(VENV)-docs/bin/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(VENV)-docs/bin/mkdocs build --strict

reproduce: $(VENV)/installed-test
	$(BIN)/python benchmarks/reproduce.py $(CIFAR10) $(REPRODUCE)

clean:
	rm -rf $(VENV) $(VENV)-* dist site
