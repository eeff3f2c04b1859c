# The README's commands. `make quickstart` and `make test` are all a newcomer needs.

PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin

# Two processes with spinning OpenMP threads starve each other on few cores.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: quickstart check test doctest lint docs notebooks dist clean

quickstart: $(VENV)/.installed
	$(BIN)/python examples/quickstart.py

# In the order of the alphabet the files that take longest come early; else those with few, long tests would come last.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Between two edits: style, and all tests but those that take long; at the end, those that should be marked `slow`.
check: $(VENV)/.installed-test $(VENV)/.installed-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -q -m "not slow" \
		--durations 10 --durations-min 2

doctest: $(VENV)/.installed-test
	$(BIN)/python -m pytest --doctest-modules ensemw2s

lint: $(VENV)/.installed-test $(VENV)/.installed-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy ensemw2s

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/_scripts/page_widths.py docs/_build/html

notebooks: $(VENV)/.installed-test
	$(BIN)/jupytext --to ipynb examples/notebooks/*.py

dist: $(VENV)/.installed-test $(VENV)/.installed-lint $(VENV)/.installed-dist
	$(BIN)/python .ci/check_dist.py

clean:
	rm -rf $(VENV) docs/_build docs/generated docs/auto_examples examples/notebooks/*.ipynb dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras; constraints.txt holds the tested versions.
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$*]"
	touch $@
