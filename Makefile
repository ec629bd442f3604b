# framewave: every target makes the environment it needs. `make` alone prints help.
SHELL := /bin/bash
PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

DATA ?=
WORK ?= work
RUN ?= runs/first
OUT ?= predictions.csv
N ?= 1000
MEDIA ?=
RUNS ?=
CONFIG ?=
SET ?=
OPTIONS = $(if $(CONFIG),--config "$(CONFIG)") $(SET)

# two processes; the tests of a file stay together, since they share what takes long to make
IN_PARALLEL = -n 2 --dist loadfile

NEEDS_DATA = test -n "$(DATA)" || { echo "error: say which videos: make $@ DATA=folder" >&2; exit 2; }

HAS_BROWSER = command -v chromium >/dev/null || command -v google-chrome >/dev/null
GET_BROWSER = apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-timeline test test-fast fuzz lint prep train crossval eval audit compare classify bench

help: ## print this help
	@echo "framewave: a folder of labelled videos in, a classifier that sees and hears out"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo
	@echo "  variables: DATA= WORK=$(WORK) RUN=$(RUN) OUT=$(OUT) CONFIG= SET=\"key=value …\""
	@echo "  example:   make prep DATA=videos && make train && make eval"
	@echo "             make classify DATA=other_videos"

# Made once, and again when pyproject.toml changed; the stamp is written last, so a broken install is redone.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 6 GB with the CUDA build of torch; see README for a CPU-only one)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -e ".[dev]"
	@touch $(STAMP)

setup: $(STAMP) ## make .venv with everything installed
	@echo "ready: $(BIN)/framewave --help"

demo: $(STAMP) ## make videos, train on them, classify others, show the table
	@$(BIN)/framewave demo --out demo $(SET)

demo-timeline: $(STAMP) ## the same with long videos, labelled in time
	@$(BIN)/framewave demo --timeline --out demo_timeline $(SET)

test: $(STAMP) ## run the test suite (installs Debian's Chromium for the report's tests, where it may)
	@$(HAS_BROWSER) || { test "$$(id -u)" = 0 && $(GET_BROWSER); } >/dev/null 2>&1 || true
	@$(HAS_BROWSER) || echo "no Chromium here (apt-get install chromium): the report's browser tests are skipped"
	@$(BIN)/python -m pytest $(IN_PARALLEL)

test-fast: $(STAMP) ## the tests that need no whole run and no browser (two minutes on two cores)
	@$(BIN)/python -m pytest $(IN_PARALLEL) -m "not end_to_end and not slow"

fuzz: $(STAMP) ## classify N= damaged files with RUN; every file must get its one row
	@PYTHONPATH=. $(BIN)/python -m tests.fuzz --n "$(N)" --run "$(RUN)" --folder fuzz

lint: $(STAMP) ## style and strict types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

prep: $(STAMP) ## DATA= → WORK: scan, decode, encode (resumes)
	@$(NEEDS_DATA)
	@$(BIN)/framewave prep "$(DATA)" --work "$(WORK)" $(OPTIONS)

train: $(STAMP) ## WORK → RUN: train a model (resumes)
	@$(BIN)/framewave train --work "$(WORK)" --run "$(RUN)" $(OPTIONS)

crossval: $(STAMP) ## WORK → RUN (runs/crossval): every clip by networks of the other folds, then a model of all (resumes)
	@$(BIN)/framewave crossval --work "$(WORK)" --run "$(if $(filter file,$(origin RUN)),runs/crossval,$(RUN))" $(OPTIONS)

eval: $(STAMP) ## RUN → RUN/eval: report.html, metrics.json, predictions.csv (DATA= for another labelled set)
	@$(BIN)/framewave eval --run "$(RUN)" $(if $(DATA),--data "$(DATA)") $(OPTIONS)

audit: $(STAMP) ## DATA= → WORK/audit: clips of one recording across splits, groups or labels
	@$(NEEDS_DATA)
	@$(BIN)/framewave audit "$(DATA)" --work "$(WORK)" $(OPTIONS)

compare: $(STAMP) ## RUNS="runs/a runs/b" → OUT= folder: two or more runs on the same clips
	@test -n "$(RUNS)" || { echo "error: say which runs: make compare RUNS=\"runs/a runs/b\"" >&2; exit 2; }
	@$(BIN)/framewave compare $(RUNS) --out "$(if $(filter predictions.csv,$(OUT)),comparison,$(OUT))"

classify: $(STAMP) ## DATA= → OUT: one row for every file (resumes)
	@$(NEEDS_DATA)
	@$(BIN)/framewave classify "$(DATA)" --run "$(RUN)" --out "$(OUT)" $(OPTIONS)

bench: $(STAMP) ## measure speed: benchmarks/RESULTS.md and the README's table (MEDIA= adds falls/, flying/)
	@PYTHONPATH=. $(BIN)/python benchmarks/compare.py bench $(if $(MEDIA),--media "$(MEDIA)")
	@$(BIN)/python benchmarks/page.py
