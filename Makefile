# Every duty is one command here, the same for people and for CI.  `make help` lists them.

PY := .venv/bin/python
STAMP := .venv/.complete
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check docs bench ablations stages nano lock clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the exact versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" .ci/setup

demo: $(STAMP) ## Let the agent answer a question about an image of the repository, on the CPU
	@$(PY) examples/demo.py

# One process for each core, of one thread each: the small models gain nothing from more. Files in their order: those of one
# folder share a browser or models.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(STAMP) ## Run the quick test suite, a quarter of an hour
	@$(PYTEST)

test-all: $(STAMP) ## Run the test suite with every sweep, half an hour
	@$(PYTEST) -m "not benchmark"

check: $(STAMP) ## Lint, format, types, import contract, duplicated code
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(PY) .ci/duplicates.py

docs: $(STAMP) ## Build the documentation into site/ and show it at http://localhost:8001
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "The pages are in site/, and at http://localhost:8001 until Ctrl-C."
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs serve --quiet --dev-addr localhost:8001

bench: $(STAMP) ## Measure times (tests/benchmarks), a quarter of an hour
	@$(PY) -m pytest -m "benchmark and not slow" -s tests/benchmarks

ablations: $(STAMP) ## Train to see what options and generated data bring (tests/benchmarks), some hours
	@$(PY) -m pytest -m "benchmark and slow" -s tests/benchmarks --ignore=tests/benchmarks/test_stages.py

stages: $(STAMP) ## Train nano through the stages of the paper and measure each (tests/benchmarks), half an hour
	@$(PY) -m pytest -m "benchmark and slow" -s tests/benchmarks/test_stages.py

nano: $(STAMP) ## Train the three shipped nano models again from nothing
	@.venv/bin/roi-agent train nano
	@.venv/bin/roi-agent train nano-detector
	@.venv/bin/roi-agent train nano-segmenter

# Nothing is installed: pip resolves all extras afresh within the bounds of pyproject.toml and reports what it would take.
lock: $(STAMP) ## Write constraints.txt afresh, with the newest versions that pyproject.toml allows
	@echo "Resolving; pip may have to fetch some of the packages for it."
	@$(PY) -m pip install --quiet --dry-run --ignore-installed --report .venv/lock.json '.[all]'
	@$(PY) -c 'import json; items = json.load(open(".venv/lock.json"))["install"]; \
	  pins = {i["metadata"]["name"]: i["metadata"]["version"].split("+")[0] for i in items}; pins.pop("roi-agent"); \
	  head = [line for line in open("constraints.txt") if line.startswith("#")]; \
	  open("constraints.txt", "w").writelines(head + [f"{n}=={pins[n]}\n" for n in sorted(pins, key=str.lower)])'
	@rm .venv/lock.json
	@echo "constraints.txt is written; run make test and look at git diff."

clean: ## Remove .venv, caches and build leftovers
	rm -rf .venv build dist demo site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
