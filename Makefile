# make quickstart: a virtual environment, the assets, the main job and its leaderboard
# make test: everything that CI checks
# make audit: known vulnerabilities of what constraints.txt pins, by PyPI's advisories
# make bench: every benchmark, against the peers, as one table (docs/performance.md)
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: all install quickstart test lint bench audit soak clean

all install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[lab,sae,dev]"
	touch $(STAMP)

quickstart: $(STAMP)
	$(BIN)/fairfight fetch
	$(BIN)/fairfight run experiment=quickstart
	$(BIN)/fairfight leaderboard
	$(BIN)/fairfight figures

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

audit:
	test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit; }
	build/audit/bin/pip-audit --disable-pip --no-deps -r constraints.txt

soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak --minutes 30

clean:
	rm -rf .venv build *.egg-info
