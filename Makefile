# Two commands set up a fresh machine: `make demo` and `make test`. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python test-neon explore lint bench wheel wheel-pgo clean

help: ## Print the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/.ready:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip 'maturin>=1.15,<2'
	@touch $@

# Installs the package with its `dev` extra; quick when nothing changed.
.PHONY: build
build: $(BIN)/.ready
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --quiet --extras dev

demo: build ## Build, then search bundled real sentences and check every method's recall
	$(BIN)/counterpoint demo

test: lint test-rust test-python test-neon ## Everything
	@echo "all tests passed"

# Property tests take the same cases at every run, so that a run says what changed; `explore` takes others.
test-rust: ## Rust tests and doctests, at every SIMD level this processor has
	PROPTEST_RNG_SEED=1 cargo test --workspace --quiet

test-python: build ## The Python acceptance suite
	$(BIN)/python -m pytest -q --hypothesis-profile=ci

test-neon: ## Every kernel's NEON twin at every length, under qemu
	bash scripts/test-neon.sh

CASES := 2000
explore: build ## The property tests on other cases at each run, CASES of each in Rust
	PROPTEST_CASES=$(CASES) PROPTEST_MAX_SHRINK_ITERS=200 cargo test --workspace --release --lib --tests --no-fail-fast
	$(BIN)/python -m pytest -q -m hypothesis

lint: build ## rustfmt, clippy, ruff, mypy, stubtest
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --exclude counterpoint-python --no-deps --quiet
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest counterpoint._counterpoint --mypy-config-file pyproject.toml

bench: ## Kernel benches and the machine's ceilings (criterion)
	cargo bench --package counterpoint-benches

wheel: $(BIN)/.ready ## An abi3 wheel in dist/
	$(BIN)/maturin build --release --out dist

wheel-pgo: $(BIN)/.ready ## The same, optimised by a profile of scripts/pgo_train.py
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/wheel-pgo.sh

clean: ## Remove what was built
	cargo clean
	rm -rf $(VENV) dist target-neon
