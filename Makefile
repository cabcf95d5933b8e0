# What people do here. `make help` lists it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo test endurance lint format typecheck bench pictures clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## make .venv with everything in it

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[demo,test,dev]'
	@touch $@

demo: $(READY) ## explain six photographs with a real pretrained CNN; a few minutes at most
	$(BIN)/igcam-batch demo --output igcam-demo

test: $(READY) ## run the tests
	$(BIN)/pytest -n 2 --dist loadgroup --durations=15

endurance: $(READY) ## twenty killed drivers, a soak of 20,000 images, and one with kills; half an hour
	IGCAM_KILLS=20 $(BIN)/pytest --timeout 1800 tests/audit/test_kills.py
	$(BIN)/python jobs/benchmark.py soak
	$(BIN)/python jobs/benchmark.py soak --images 5000 --kill-every 12

lint: $(READY) ## ruff, and the layers of the design
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(READY) ## write the code as ruff would
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(READY) ## mypy, strict
	$(BIN)/mypy

bench: $(READY) ## speed, memory and rules, against floor and peers; the job, plans and pages; an hour and a half
	$(BIN)/python jobs/benchmark.py engine
	$(BIN)/python jobs/benchmark.py memory
	$(BIN)/python jobs/benchmark.py rules
	$(BIN)/python jobs/benchmark.py job
	$(BIN)/python jobs/benchmark.py job --images 250 --images 500 --images 1000 --images 2000 --steps 4
	$(BIN)/python jobs/benchmark.py plan
	$(BIN)/python jobs/benchmark.py report

pictures: demo ## the README's pictures, of the demo and of one benchmark; needs Chromium
	$(BIN)/python jobs/benchmark.py engine --model resnet50 --steps 20 --json igcam-demo/engine.json
	$(BIN)/python jobs/pictures.py igcam-demo/sheet.png igcam-demo/engine.json docs

clean: ## remove what the targets above made
	rm -rf $(VENV) igcam-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
