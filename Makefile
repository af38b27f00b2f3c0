# Two commands do all the set-up: `make demo` and `make test`. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LIGHT := $(VENV)/.light

.PHONY: demo test test-oldest fast coverage lint format docs install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@ $(LIGHT)

# What runs the checkpoints, and scores: PESQ is built from C, and left out where there is no compiler.
$(LIGHT): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[stoi]"
	$(BIN)/python -m pip install --quiet -e ".[pesq]" >/dev/null 2>&1 || true
	touch $@

demo: $(LIGHT)
	$(BIN)/audiotool denoise tests/data/audio/demo/noisy.flac -o demo/denoised.flac \
		--reference tests/data/audio/demo/clean.flac --report demo/report.json --overwrite
	@echo "Listen: tests/data/audio/demo/noisy.flac, then demo/denoised.flac"

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto

# The lowest Python, and the lowest versions that pyproject.toml states of what needs no PyTorch: every command is found,
# the tasks give the samples that they gave, files of every kind are read and written. pyenv's Pythons need no shim.
OLDEST := build/oldest
OLDEST_PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3.10) python3.10)
OLDEST_EXTRAS := stoi,resampling,mos,loudness,plots,media,serve,remote,live
OLDEST_TESTS := test_golden.py test_discovery.py test_extras.py test_doctor.py test_atomic.py test_writable.py test_text.py \
	test_stdio.py files audio/test_reader.py audio/test_media.py audio/test_media_writer.py audio/test_remote.py

$(OLDEST)/.installed: pyproject.toml
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct \
		-e ".[$(OLDEST_EXTRAS)]" "pytest>=8.2" "hypothesis>=6.100"
	touch $@

test-oldest: $(OLDEST)/.installed
	for words in --help "vocode --help" "models list" "models show denoise-16k"; do \
		$(OLDEST)/bin/audiotool $$words >/dev/null || exit 1; done
	$(OLDEST)/bin/python -m pytest $(addprefix tests/,$(OLDEST_TESTS))

fast: $(INSTALLED)
	$(BIN)/python -m pytest -m fast -n auto

# Branches and lines that the fast tests reach, by package; scripts/check_coverage.py has the floors.
coverage: $(INSTALLED)
	mkdir -p build
	COVERAGE_FILE=build/.coverage $(BIN)/python -m pytest -m fast -n auto --cov \
		--cov-report=json:build/coverage.json
	$(BIN)/python scripts/check_coverage.py build/coverage.json

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 audiotool
	$(BIN)/lint-imports

docs: $(INSTALLED)
	$(BIN)/python scripts/write_model_table.py --missing
	$(BIN)/python -m mkdocs build
	@echo "Read: build/site/index.html"

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist demo *.egg-info
