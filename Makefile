# make demo: a synthetic cohort through the whole pipeline. make test: the tests. make check: style, types, import rules.
# make test-long: processes killed in the middle, null controls, sweeps; ten minutes more.
# make test-cluster: the tests that start several nodes of Ray on this machine; ten minutes more.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-long test-cluster check format lock clean

demo: $(READY)
	$(BIN)/tumorprog demo --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest tests

test-long: $(READY)
	$(BIN)/python -m pytest tests -m long

test-cluster: $(READY)
	$(BIN)/python -m pytest tests/integration/cluster -m cluster

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy tumorprog jobs
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The environment is made again when the pins or the package's own metadata change. uv installs from the lock in
# seconds, where pip takes minutes; the torch build that the lock names matches its torchvision. Compiled at once, torch
# imports in half the time, also where Python is told to write no bytecode.
$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --compile-bytecode requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

# --universal: one lock for Python 3.11 to 3.13; it names no registry.
lock: $(READY)
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --no-header --quiet --upgrade \
		pyproject.toml --output-file requirements.lock

clean:
	rm -rf runs .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
