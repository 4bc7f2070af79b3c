# Two commands: `make demo` and `make test`. On a machine with an NVIDIA GPU: `make demo EXTRA=gpu`.
PYTHON ?= python3
EXTRA  ?= cpu
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint bench-gpu reports clean

demo: $(VENV)/demo-$(EXTRA)
	$(BIN)/compress run recipes/reviews-trio.yaml

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/test-$(EXTRA)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Rerun where a GPU is: writes reports/published/gpu there, runs/gpu-bench elsewhere.
bench-gpu:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) bench/gpu.py

# README's tables and the published pages, from the run.json files in the tree.
reports: $(VENV)/demo-$(EXTRA)
	$(BIN)/python -m reports.publish

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The stamps say which extras are installed, and are older than what they were installed from when that changes.
$(VENV)/demo-$(EXTRA): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRA)]"
	touch $@

$(VENV)/test-$(EXTRA): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRA),test]"
	touch $@ $(VENV)/demo-$(EXTRA)
