# Two commands: `make demo` and `make test`. On a machine with an NVIDIA GPU: `make demo EXTRA=gpu`.
PYTHON ?= python3
EXTRA  ?= cpu
# A folder for each extra: the two onnxruntime wheels overwrite each other's files.
VENV   := .venv$(if $(filter-out cpu,$(EXTRA)),-$(EXTRA))
BIN    := $(VENV)/bin
RECIPE := recipes/reviews-trio.yaml

.PHONY: demo test test-slow lint bench-faults bench-measuring bench-pruning bench-onnx bench-exporting bench-gpu clients reports clean

demo: $(VENV)/demo
	$(BIN)/compress run $(RECIPE)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow"

# What takes longest: runs that are killed or meet a full disk, sweeps, memory that is measured, benches that run programs.
test-slow: $(VENV)/test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m slow

lint: $(VENV)/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Kills runs and feeds broken input to every reader: writes reports/published/faults.
bench-faults: $(VENV)/demo
	$(BIN)/python -m bench.faults

# A/A pairs, planted slow-downs, together against alone, a report over many runs, coverage of intervals: writes
# reports/published/measuring. Some fifty minutes on a machine that does nothing else.
bench-measuring: $(VENV)/demo
	$(BIN)/python -m bench.measuring

# What pruning keeps in one shot, whether latency targets are met, what it takes of memory, and a third of an encoder,
# taught: writes reports/published/sst2-oneshot, latency-targets, pruning-memory and sst2-third. Some four hours on a
# machine that does nothing else; what is finished lies in runs/pruning. DATA holds SST-2 and its model, named as recipes/sst2-oneshot.yaml says.
DATA ?= recipes
bench-pruning: $(VENV)/demo
	$(BIN)/python -m bench.pruning --model $(DATA)/sst2-minilm-l6 --train $(DATA)/sst2/train.tsv \
		--validation $(DATA)/sst2/validation.tsv

# Our ONNX files beside other toolkits' own, which are installed below runs/onnx: writes reports/published/onnx-minilm. Some
# twenty minutes on a machine that does nothing else, and 2 GB of packages.
bench-onnx: $(VENV)/demo
	$(BIN)/python -m bench.onnx --model $(DATA)/sst2-minilm-l6 --train $(DATA)/sst2/train.tsv \
		--validation $(DATA)/sst2/validation.tsv

# What an export takes and leaves, and how fast an unevenly cut model is: writes reports/published/onnx-export. Some five
# minutes on a machine that does nothing else.
bench-exporting: $(VENV)/demo
	$(BIN)/python -m bench.exporting --model $(DATA)/sst2-minilm-l6 --train $(DATA)/sst2/train.tsv

# Has other people's loaders read what we export, in environments of their own below runs/clients: writes
# reports/published/clients. It needs Node, and 3 GB for packages.
clients: $(VENV)/demo
	$(BIN)/python -m bench.clients --model $(DATA)/sst2-minilm-l6 --train $(DATA)/sst2/train.tsv \
		--texts $(DATA)/sst2/validation.tsv

# Rerun where a GPU is: writes reports/published/gpu there, runs/gpu-bench elsewhere. It installs nothing.
bench-gpu:
	$(firstword $(wildcard .venv-gpu/bin/python) $(wildcard $(BIN)/python) $(PYTHON)) -m bench.gpu --recipe $(RECIPE)

# README's tables and the published pages, from the run.json files in the tree; then the check that `make test` makes.
reports: $(VENV)/demo
	$(BIN)/python -m reports.publish
	$(BIN)/python -m reports.publish --check

clean:
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The stamps say what is installed, and are older than what it was installed from when that changes.
$(VENV)/demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRA)]"
	touch $@

$(VENV)/test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRA),test]"
	touch $@ $(VENV)/demo
