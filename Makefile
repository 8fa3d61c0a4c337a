# mailsyncd: `make demo` runs the main job, `make test` passes the tests; each sets itself up.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install -qq --disable-pip-version-check
UV ?= $(or $(shell command -v uv),$(VENV)/bin/uv)
CONFTESTS = $(wildcard $(addsuffix conftest.py,tests/ tests/*/ tests/*/*/))
LOCK = $(UV) pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate

.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "mailsyncd needs Python 3.11 or newer, with venv (Debian: apt install python3-venv)" >&2; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --no-deps -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

venv: $(VENV)/.ready  ## .venv with the daemon and the test tools

$(VENV)/tools/.ready: requirements/tools.txt
	@test -n "$(PYTHON)" || { echo "mailsyncd needs Python 3.11 or newer, with venv" >&2; exit 1; }
	@test -x $(VENV)/tools/bin/python || $(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements/tools.txt
	@touch $@

demo: venv  ## the main job on embedded servers, before your eyes
	@$(RUN) -m mailsyncd demo

test: venv  ## all tests that this machine can run
	$(RUN) -m pytest -n 4 --dist loadgroup -m "not live and not slow"

real: venv  ## only the tests against real servers (Dovecot, DynamoDB Local)
	$(RUN) -m pytest -m real

lint: venv  ## ruff, and the rule that imports point down
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports

types: venv  ## mypy --strict, of tests too
	$(RUN) -m mypy
	@for one in $(CONFTESTS); do $(RUN) -m mypy $$one || exit 1; done

check: lint types  ## lint, layout and types

bench: venv  ## the benchmarks beside mbsync and imapfilter, into docs/benchmarks.md; BENCH=push does one part
	cd tests && ../$(RUN) -m bench $(BENCH)

faults: venv  ## every fault against the real daemon, a table at the end; CASE=id SEED=n plays one again
	cd tests && ../$(RUN) -m faults.campaign $(if $(CASE),--case '$(CASE)') --seed $(or $(SEED),1)

faults-sample: venv  ## some of every fault, for a minute or two
	cd tests && ../$(RUN) -m faults.campaign --sample 120 --seed $(or $(SEED),1)

soak: venv  ## a day of the daemon's life in 15 minutes, with every fault, a table by hours; HOURS=n SEED=n
	cd tests && ../$(RUN) -m faults.soak --hours $(or $(HOURS),24) --seed $(or $(SEED),1)

histories: venv  ## any history at all of mail, servers, daemons and clocks: HISTORIES=n of them, SEED=n replays
	@seed=$(or $(SEED),$$(date +%s)); echo "make histories HISTORIES=$(or $(HISTORIES),2000) SEED=$$seed"; \
	HISTORIES=$(or $(HISTORIES),2000) PYTHONHASHSEED=0 $(RUN) -m pytest -s -p no:cacheprovider \
	--hypothesis-seed=$$seed tests/unit/flow/test_any_history.py

slow: venv  ## the tests that take minutes: memory and fairness with the largest backlogs
	$(RUN) -m pytest -m slow

mutants: venv  ## every protection taken out in turn: a test must notice
	cd tests && ../$(RUN) -m faults.mutants

deployables: venv $(VENV)/tools/.ready  ## templates, workflows, Dockerfiles, compose.yaml and scripts, by their linters
	tests/deploy/lint.sh

unit: venv  ## the systemd unit: verified, and booted where this machine can
	tests/integration/unit_file.sh
	tests/integration/boot.sh

image: venv  ## the container image: built, run and asked how it is
	tests/integration/image.sh

lock:  ## make the hash-pinned requirements anew (needs uv)
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt
	$(LOCK) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(LOCK) requirements/tools.in -o requirements/tools.txt
	@! grep -nE '(https?|file)://' requirements/*.txt

audit: $(VENV)/tools/.ready  ## what is known against the dependencies (asks their registry)
	$(VENV)/tools/bin/pip-audit --require-hashes --disable-pip -r requirements/run.txt

sbom: $(VENV)/tools/.ready  ## dist/mailsyncd.cdx.json: what mailsyncd is made of, by CycloneDX
	@mkdir -p dist
	PYTHONWARNINGS=ignore $(VENV)/tools/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o dist/mailsyncd.cdx.json requirements/run.txt

docker: venv  ## the container image, with docker
	docker build -t mailsyncd --build-arg VERSION=$$($(RUN) -m mailsyncd --version | cut -d' ' -f2) \
		--build-arg REVISION=$$(git rev-parse HEAD) .

clean:  ## remove what was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

.PHONY: help venv demo test real lint types check bench faults faults-sample soak histories slow mutants deployables unit image lock audit sbom docker clean
