# Every target sets itself up in .venv: a virtual environment with the versions of constraints.txt. Nothing else of the
# machine is touched. Another Python: make test PYTHON=/path/to/python3.12

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := out/demo

# The Python the constraints were tested with comes first; one that cannot make environments is passed over.
ifndef PYTHON
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)
endif

TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
CPU_WHEELS := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help setup demo test test-all test-scene test-app app-screenshots screenshots lint clean

help:
	@echo "make demo      paint a nodule into a made-up chest CT and draw the picture ($(DEMO))"
	@echo "make test      linter, type checker, tests"
	@echo "make test-all  also the slow tests, and those for a GPU or a browser where there is one"
	@echo "make test-scene  the bridge to 3D Slicer's scenes, and the panel in its test host, on slicer-core and PySide6 in"
	@echo "               two environments of their own (2.5 GB each)"
	@echo "make test-app    the browser app in a real browser, in an environment of its own (2 GB); needs a Chromium"
	@echo "make lint      linter and type checker"
	@echo "make setup     only the environment ($(VENV)), with everything for developers"
	@echo "make clean     remove the environment and everything built; runs/ and out/ stay"

setup: $(READY)

demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/lefusion demo -o $(DEMO)
	@echo "The picture is $$(ls $(DEMO)/*.png)"

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/mypy

# One thread: the networks of the tests are tiny, and threads that wait for each other on a busy machine are what is slow.
test: export OMP_NUM_THREADS ?= 1
test: lint
	$(BIN)/python -m pytest -m "ci or not (slow or gpu or browser)"

test-all: lint
	$(BIN)/python -m pytest

# slicer-core brings its own VTK, 1.1 GB: too much for everybody's environment. Both versions that the bridge is held to.
SLICER_CORES := 5.11.0.6 5.13.31053.0
SCENE_NEEDS := PySide6-Essentials==6.12.0 scipy SimpleITK nibabel pynrrd pydicom safetensors pytest pytest-timeout \
	hypothesis filelock typing_extensions setuptools sympy networkx jinja2 fsspec

SCENE_TESTS :=  # which of them, as for pytest; all

test-scene: export OMP_NUM_THREADS ?= 1
test-scene: $(SLICER_CORES:%=.venv-scene-%/.ready)
	@for version in $(SLICER_CORES); do .venv-scene-$$version/bin/python -m pytest Testing/scene Testing/gui $(SCENE_TESTS) || exit 1; done

.venv-scene-%/.ready:
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet slicer-core==$* $(SCENE_NEEDS)
	$(@D)/bin/python -m pip install --quiet --retries 0 --timeout 15 --index-url $(CPU_WHEELS) --no-deps $(TORCH) \
		|| $(@D)/bin/python -m pip install --quiet --no-deps $(TORCH)
	@touch $@

# The browser app, with the Slicer and VTK that trame-slicer needs. The browser comes from the system:
# Debian, Ubuntu: apt install chromium libegl1 libgl1-mesa-dri fonts-dejavu-core
test-app: export OMP_NUM_THREADS ?= 1
test-app: .venv-app/.ready
	.venv-app/bin/python -m pytest Testing/app -m "not slow"

.venv-app/.ready: pyproject.toml constraints.txt
	@.venv-app/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --retries 0 --timeout 15 --index-url $(CPU_WHEELS) --no-deps $(TORCH) \
		|| $(@D)/bin/python -m pip install --quiet --no-deps $(TORCH)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable '.[app]' \
		playwright pytest pytest-timeout hypothesis
	@touch $@

app-screenshots: .venv-app/.ready
	$(<D)/bin/python Testing/app/screenshots.py

# As they are in the documentation; by hand, since fonts and Qt versions differ.
screenshots: .venv-scene-$(lastword $(SLICER_CORES))/.ready
	$(<D)/bin/python Testing/gui/screenshots.py

clean:
	rm -rf $(VENV) .venv-scene-* .venv-app build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find LeFusion LeFusionLib Testing -name __pycache__ -prune -exec rm -rf {} +

# torch comes first: with an NVIDIA GPU the usual build; else the small CPU build from its own index, tried once and
# briefly. Where that index cannot be reached, pip's own configuration (a mirror, a folder of wheels) decides.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer that can make virtual environments was found." \
		"Install one (Debian, Ubuntu: sudo apt install python3 python3-venv; else https://www.python.org/downloads)," \
		"or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@if $(BIN)/python -c 'import importlib.metadata as m; exit("$(TORCH)".split("==")[1] != m.version("torch").split("+")[0])' 2>/dev/null; \
	then echo "$(TORCH) is there"; \
	elif nvidia-smi -L >/dev/null 2>&1; then $(PIP) install $(TORCH); \
	else $(PIP) install --no-deps --retries 0 --timeout 15 --index-url $(CPU_WHEELS) $(TORCH) \
		|| { echo "No $(TORCH) at $(CPU_WHEELS); taking what pip's own sources have."; $(PIP) install --no-deps $(TORCH); }; fi
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)
