# make tune    set-up plus the main job: tune the default model for long recordings, leaving deploy.yaml
# make test    set-up plus all tests
# make check   formatting, lint, types
# make docs    the documentation's site, in site/; fails at a link that leads nowhere
# make docs-check   runs what the tutorial shows, for some minutes
# uv installs where it is there, in a fraction of pip's minutes. It doesn't read pip's settings: these two are handed on.
PYTHON ?= python3
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: tune test check docs docs-check format clean

tune: $(STAMP)
	$(BIN)/autotune --audio-profile long

test: $(STAMP)
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 10

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-check: $(STAMP)
	$(BIN)/python scripts/docs_check.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) site deploy.yaml

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but got " + sys.version)'
ifneq ($(shell command -v uv),)
	uv venv --quiet --allow-existing --seed --python $(PYTHON) $(VENV)
	uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
endif
	touch $@
