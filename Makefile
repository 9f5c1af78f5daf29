# make demo: a whole personalisation cloud on this machine, from data to decisions.
# make test: lint, types and every test. Both install what they need into .venv.
# make images: adds what the image model needs (PyTorch among it); the demo uses it where it is.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install images demo test lint types unit integration notebooks clean

help:
	@grep -E '^# make' Makefile | sed 's/^# //'

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[local,test,notebooks]'
	@touch $@

# torch, onnx and onnxruntime: for the image model only
.venv/installed-images: .venv/installed
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[image]'
	@touch $@

install: .venv/installed

images: .venv/installed-images

demo: install
	$(BIN)/nextbest demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	$(BIN)/pytest tests/unit -n 2 -q

integration: install
	$(BIN)/pytest tests/integration -q

notebooks: install
	$(BIN)/pytest tests/notebooks -q

test: images lint types unit integration notebooks

clean:
	rm -rf .venv .nextbest build dist *.egg-info
