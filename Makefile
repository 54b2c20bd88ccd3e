# The commands of the README. Each sets up what it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NODE := $(shell command -v node 2>/dev/null)

FUZZ_SECONDS ?= 600

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $(VENV)/.demo

.PHONY: demo test coverage check lint docs bench bench-check test-bounds release-check fuzz board clean
.DEFAULT_GOAL := demo

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

node_modules/.ready: package.json
	npm install --silent --no-audit --no-fund --no-package-lock
	touch node_modules/.ready

demo: $(VENV)/.demo  ## train two methods on long-tailed numbers, say what they show and how to look at it
	$(BIN)/tbmetrics demo --log-dir runs/demo
	@echo "Here: make board. Offline, as figures, tables and one page: $(BIN)/tbmetrics export runs/demo --out exports/demo"

test: $(READY)  ## every test
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=20

coverage: $(READY)  ## every test, counting the lines and branches that they run: a fifth slower
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered

check: lint  ## for the inner loop, within a minute: style, types, and the tests that are neither slow nor in a browser
	$(BIN)/python -m pytest -n 2 --dist worksteal --quiet -m "not slow and not browser"

lint: $(READY) $(if $(NODE),node_modules/.ready)  ## style and types, Python and (where node is) JavaScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(if $(NODE),npm run --silent lint,@echo "node is missing: the JavaScript was not checked")

docs: $(READY)  ## the documentation as a site, into site/; any warning fails
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(READY)  ## every benchmark, into docs/benchmarks.md; BENCH="--only events" chooses
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks --write $(BENCH)

bench-check: $(READY)  ## small benchmarks, their ratios compared with benchmarks/baseline.json
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks --quick --check $(BENCH)

test-bounds: $(READY)  ## the tests with the lowest and the newest versions, on every Python found; slow
	$(BIN)/python -m tests.bounds $(BOUNDS)

release-check: $(READY)  ## build, check and try what would be released; RELEASE="--python 3.11" chooses
	$(BIN)/python -m tests.bounds.release $(RELEASE)

fuzz: $(READY)  ## FUZZ_SECONDS (600) of coverage-guided fuzzing for each target
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	for target in event_reader record_decoder route_parameters harmful_log; do \
	  $(BIN)/python -m tests.fuzz $$target --seconds $(FUZZ_SECONDS) || exit 1; done

board: $(VENV)/.demo  ## TensorBoard on the demo's runs
	$(BIN)/tbmetrics board runs/demo --attribute number --metric recall --a cross_entropy/seed0/test --b logit_adjusted/seed0/test

clean:
	rm -rf $(VENV) runs exports dist build site node_modules
