# make demo   segments the example picture with the checkpoint that ships in the package
# make test   style checks and the tests, in an order that the printed seed decides; minutes
# make check-long         what takes long by its nature, the most telling first: the three that follow
# make check-thorough     the wheel in use, processes that are launched, all towers, thousands of inputs, other suites
# make check-endurance    commands that are killed at any moment, and thousands of calls in one process
# make check-versions     the wheel with the lowest and newest versions, in each Python that is here; prints a table
# make check-processors   the tests of numbers with other instruction sets, threads and seeds; prints a table
# make docs   the site of the documentation, in site/; needs no network once it is installed
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# What pip installs it would compile with one processor; afterwards all of them do, but for what is hardly imported.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/(tests?|testing|models|ray)/' $(VENV)/lib || true
export HF_HUB_OFFLINE := 1

# Three, since many tests wait: for processes, a server or a browser.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal

.PHONY: demo docs test check-long check-thorough check-endurance check-versions check-processors clean

demo: $(VENV)/installed
	$(BIN)/ssp-sam segment examples/scene.png "the red car" "the dog" "everything" "the penguin" \
		--output demo/overlay.png
	@echo "Open $(CURDIR)/demo/overlay.png to see the masks."

test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST)

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

check-long: check-thorough check-endurance check-versions

ENDURANCE := tests/test_crashes.py tests/test_endurance.py
check-thorough: $(VENV)/installed-long
	$(PYTEST) -m long $(addprefix --ignore ,$(ENDURANCE))

check-endurance: $(VENV)/installed-test
	$(PYTEST) -m long $(ENDURANCE)

check-versions:
	.ci/versions

check-processors: $(VENV)/installed-test
	PYTHON=$(BIN)/python .ci/processors

clean:
	rm -rf $(VENV) demo site build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	$(COMPILE)
	touch $@

$(VENV)/installed-test: setup.py pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[test]'
	$(COMPILE)
	touch $(VENV)/installed $@

# One test, a long one, needs Ray, which has no release for the newest Pythons.
$(VENV)/installed-long: $(VENV)/installed-test
	$(PIP) -e '.[ray]' || echo "Ray is not to be had; its test is skipped"
	touch $@

$(VENV)/installed-docs: setup.py pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[docs]'
	$(COMPILE)
	touch $(VENV)/installed $@
