# `make demo` and `make test` do all the set-up by themselves; `make env` does the set-up alone.
PYTHON ?= python3
PY := .venv/bin/python
export TOKENIZERS_PARALLELISM := false

.PHONY: env weights demo test lint clean

env: .venv/ready

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; run: make PYTHON=python3.11") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv .venv
	@if command -v uv >/dev/null 2>&1; then uv pip install --python $(PY) -e '.[dev]'; \
	else $(PY) -m pip install --disable-pip-version-check -e '.[dev]'; fi
	@touch $@

weights: env
	@$(PY) -m latentsync.weights fetch face-landmarker lpips-vgg16

demo: weights
	@$(PY) -m eval.demo

test: weights
	$(PY) -m pytest

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf runs outputs .pytest_cache .ruff_cache .mypy_cache
