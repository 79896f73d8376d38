# Everything a newcomer needs: make demo, make test. Both build .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
DEMO_ARGS ?=
REPRODUCE_ARGS ?=
TEST_ARGS ?= -n auto

.PHONY: demo test lint toys reproduce docs clean

demo: $(INSTALLED)
	$(BIN)/infoflow demo --out runs/demo --overwrite $(DEMO_ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright -p . --pythonpath $(BIN)/python

toys: $(INSTALLED)
	$(BIN)/infoflow toys

# digits, 2 seeds; for MNIST: make reproduce REPRODUCE_ARGS='--dataset mnist --data-dir FOLDER --seeds 9 --untrained 500'
reproduce: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.lange2022 $(REPRODUCE_ARGS)

# torch first and by its exact version: the CPU build is enough
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[exact,cluster,dev]'
	touch $@

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) runs docs/_build docs/_gallery .pytest_cache .ruff_cache
