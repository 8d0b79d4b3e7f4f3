# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-all lint style setup figures docs clean

setup: $(STAMP)

# torch first and exactly: everything after it finds its requirement already met.
# What is never imported need not be compiled: that took as long as the rest of the installation.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,fleet,heic,web]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/portrait-lora demo --out demo

style: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

lint: style
	$(BIN)/pyright

# The types, on one processor for a minute, are looked at beside the tests; either fails the run.
test: style
	@types=$$(mktemp); trap 'rm -f $$types' EXIT; \
	$(BIN)/pyright >$$types 2>&1 & typed=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST); tested=$$?; \
	wait $$typed; types_ok=$$?; cat $$types; exit $$((tested || types_ok))

# The same, and of every sweep all cases instead of a sample of them: tests/sampling.py.
test-all: PYTEST = --exhaustive
test-all: test

# docs/figures.md from docs/figures.json, the tree of docs/architecture.md from the package.
figures: $(STAMP)
	$(BIN)/python -m scripts.figures
	$(BIN)/python -m scripts.architecture
	$(BIN)/python -m scripts.cards

# The documentation as a site, in site/; every link and anchor is looked at.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) demo work build dist site
