PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint clean distclean

demo: $(VENV)/.demo
	$(BIN)/spikeport demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

test-slow: $(VENV)/.test
	$(BIN)/pytest -m slow

lint: $(VENV)/.test | .types/spikeport
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# One environment for everything; a stamp per set of extras, so that nothing is installed twice.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml setup.py $(wildcard cpu/src/*) | $(BIN)/python
	$(BIN)/python -m pip install -e '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml setup.py $(wildcard cpu/src/*) | $(BIN)/python
	$(BIN)/python -m pip install -e '.[demo,dev,words]'
	touch $@ $(VENV)/.demo

# mypy looks for spikeport here, see [tool.mypy] in pyproject.toml.
.types/spikeport:
	mkdir -p .types
	ln -sfn .. $@

clean:
	rm -rf build dist *.egg-info .types .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
