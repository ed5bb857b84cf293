# Each target is one aihub verb. Exit codes are promised for `aihub` only: make turns every failure into 2.
TARGET ?= lab
HUB ?= inventory/hub.yml
PYTHON ?= python3
AIHUB = .venv/bin/aihub
export AIHUB_TARGET = $(TARGET)
export AIHUB_HUB = $(HUB)

.DEFAULT_GOAL := help
.PHONY: help setup tools venv up plan verify status down bench check test test-long clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

setup: ## install system packages and the virtual environment (root where packages are missing)
	@$(PYTHON) python/bootstrap.py

tools:
	@$(PYTHON) python/bootstrap.py --tests

venv:
	@$(PYTHON) python/bootstrap.py --venv

up: setup ## build the hub and verify it: TARGET=lab (default) or TARGET=pve, HUB=inventory/hub.yml
	@$(AIHUB) up

plan: setup ## show what `up` would change
	@$(AIHUB) plan

verify: setup ## run every check against the running hub
	@$(AIHUB) verify

status: setup ## what runs, where, and how to look around
	@$(AIHUB) status

down: setup ## remove the hub; in the lab also everything the lab made
	@$(AIHUB) down

bench: setup ## measure, with the goal beside each figure
	@$(AIHUB) bench

check: venv ## lint, types, unit tests and cases; no root, no network
	@$(AIHUB) check

test: tools ## everything, the real lab included
	@$(AIHUB) test

test-long: $(if $(filter kills files,$(PART)),venv,tools) ## what takes too long for every day, in parts: PART=kills, files (no root), hub, edits or gateway; default all
	@$(AIHUB) test --long $(PART:%=--part %)

clean: ## remove what was built in this checkout (the hub and its state stay)
	@rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible python/*.egg-info python/pvelab/build python/pvelab/.pytest_cache python/pvelab/src/*.egg-info
	@find python stacks tests -name __pycache__ -prune -exec rm -rf {} +
