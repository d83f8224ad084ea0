# make demo: run the whole pipeline on a synthetic cohort. make test: the tests. make check: style, types, import rules.
# make test-long: tests of killed processes, null controls and sweeps; ten more minutes.
# make test-cluster: the tests that start several Ray nodes on this machine; ten more minutes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-long test-cluster check format lock clean

demo: $(READY)
	$(BIN)/tumorprog demo --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest tests --numprocesses auto --maxprocesses 4 --dist loadfile --cov --cov-report term:skip-covered

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

# The environment is updated when the pins or the package's own metadata change. uv installs from the lock in
# seconds, where pip takes minutes; the torch build in the lock matches its torchvision. With bytecode compiled at
# installation, torch imports in half the time, even where Python is configured to write no bytecode.
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
	rm -rf runs .venv build *.egg-info .coverage .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
