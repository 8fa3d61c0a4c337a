# mailsyncd: `make demo` runs the main job, `make test` passes the tests; each sets itself up.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "mailsyncd needs Python 3.11 or newer, with venv (Debian: apt install python3-venv)" >&2; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

venv: $(VENV)/.ready  ## .venv with the daemon and the test tools

demo: venv  ## the main job on embedded servers, before your eyes
	@$(RUN) -m mailsyncd demo

test: venv  ## all tests that this machine can run
	$(RUN) -m pytest -n 2 --dist loadgroup

real: venv  ## only the tests against real servers
	$(RUN) -m pytest -m real

lint: venv  ## ruff, and the rule that imports point down
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports

types: venv  ## mypy --strict
	$(RUN) -m mypy

check: lint types  ## lint and types

bench: venv  ## the benchmarks, against a real Dovecot
	$(RUN) -m pytest tests/bench -m bench --override-ini python_files='*.py' -s

lock: venv  ## make the hash-pinned requirements anew (needs uv)
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
		pyproject.toml -o requirements/run.txt
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
		pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt

docker:  ## the container image
	docker build -t mailsyncd .

clean:  ## remove what was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

.PHONY: help venv demo test real lint types check bench lock docker clean
