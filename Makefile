# The commands of this repository. Each one makes what it needs first: `make demo` and `make test`
# work on a fresh clone, and after an edit only what the edit touched is made again.
#
#   make demo            install into .venv and run the demonstration
#   make test            the Python tests, the C tests, and `make fuzz`
#   make test-hosts      aionif in the servers and tools that programs run in
#   make lint            ruff, mypy, clang-format
#   make bench           the benchmarks, into docs/performance.md; ARGS=--quick only tries them
#   make fuzz            all that reads what workers write, under libFuzzer, for SECONDS=60
#   make sanitize        the C tests against a core built with ASan and UBSan
#   make test-real       calls beside OpenMP, io_uring, wasmtime, a JVM, Go, libgc, jemalloc
#   make test-aarch64    the C tests, cross-compiled, under qemu-user
#   make clean
#
# READERS='plain lane' fuzzes these alone.
# PYTHON=python3.12 takes another interpreter. ARGS=... goes to the demo, pytest or the benchmarks.

PYTHON = python3
ARGS =
READERS =
export SECONDS = 60

VENV := .venv
BIN := $(VENV)/bin
# Twice quiet: errors, and the output of a build that failed, are still shown.
PIP := $(BIN)/python -m pip -qq --no-input

# Without this, Python started here would import aionif from the checkout, which has no compiled
# core, in place of the package that was installed.
export PYTHONSAFEPATH = 1
export PYTHON
MAKEFLAGS += --no-print-directory

# Directories are listed too, so that a deleted file counts as a change.
SOURCES := $(shell find pyproject.toml CMakeLists.txt README.md LICENSE aionif csrc \
             -name __pycache__ -prune -o -not -name '.*' -print 2>/dev/null)
C_FILES = $(shell find csrc tests/c benchmarks/c -name '*.[ch]' -o -name '*.cc')

.PHONY: demo test test-python test-hosts test-real test-c lint bench fuzz sanitize test-aarch64 clean
.PHONY: prerequisites prerequisites-aarch64
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/aionif demo $(ARGS)

test: test-python test-c fuzz

test-python: $(VENV)/.installed-test $(VENV)/.installed-cmake
	$(BIN)/python -m pytest $(ARGS)

test-hosts: $(VENV)/.installed-hosts
	$(BIN)/python -m pytest tests/hosts $(ARGS)

# Three steps, so that an hour's figures are on disk before anything is made of them.
bench: $(VENV)/.installed-peers $(VENV)/.installed-cmake
	mkdir -p build/bench
	$(BIN)/aionif bench -o build/bench/results.json --report build/bench/report.html $(ARGS)
	$(BIN)/python -m benchmarks --json $(filter --quick,$(ARGS)) >build/bench/measures.json
	$(BIN)/python -m benchmarks.page build/bench/results.json build/bench/measures.json

# The first line is true, or says why there is no libFuzzer here.
fuzz: $(VENV)/.installed-fuzz $(VENV)/.installed-cmake
	@if engine="$$($(BIN)/python -m tests.fuzz.engine)"; then \
	    $(call build,fuzz,-DAIONIF_SANITIZE=ON -DAIONIF_FUZZ="$$engine") \
	    && $(BIN)/python -m tests.fuzz $(READERS); \
	fi

# Ten minutes: a trial that hangs, as some are known to, takes its time. A library that is not installed
# is named, with its package (77), and the others are tried all the same.
test-real: $(VENV)/.installed-real
	@failed=; for script in openmp uring wasm jvm golang boehm jemalloc; do \
	    echo "---- $$script"; \
	    $(BIN)/python -m tests.hosts.real.$$script $(ARGS); \
	    case $$? in 0 | 77) ;; *) failed="$$failed $$script" ;; esac; \
	done; \
	if [ -n "$$failed" ]; then echo "not as expected:$$failed"; exit 1; fi

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# ---- the C tests: no Python package is involved, .venv only lends a recent CMake ----

build = $(BIN)/cmake --log-level=NOTICE -S . -B build/$(1) -DAIONIF_PYTHON=OFF $(2) \
	&& $(BIN)/cmake --build build/$(1) --parallel $$(nproc)

ctest = $(call build,$(1),-DAIONIF_CTESTS=ON $(2)) \
	&& $(BIN)/ctest --test-dir build/$(1) --output-on-failure --no-tests=error

test-c: $(VENV)/.installed-cmake
	$(call ctest,native)

sanitize: $(VENV)/.installed-cmake
	$(call ctest,sanitize,-DAIONIF_SANITIZE=ON)

test-aarch64: prerequisites-aarch64 $(VENV)/.installed-cmake
	$(call ctest,aarch64,-DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/aarch64-linux-gnu.cmake)

# ---- the virtual environment ----

$(VENV)/.installed: $(VENV)/.python $(SOURCES)
	$(PIP) install .
	touch $@

# The extras need the package built too, so they count as an installation of it.
$(VENV)/.installed-test: $(VENV)/.python $(SOURCES)
	$(PIP) install '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-fuzz: $(VENV)/.installed-test
	$(PIP) install '.[fuzz]'
	touch $@

$(VENV)/.installed-real: $(VENV)/.installed-test
	$(PIP) install '.[real]'
	touch $@

$(VENV)/.installed-peers: $(VENV)/.installed-test
	$(PIP) install '.[peers]'
	touch $@

$(VENV)/.installed-hosts: $(VENV)/.installed-test
	$(PIP) install '.[hosts]'
	touch $@

$(VENV)/.installed-lint: $(VENV)/.python pyproject.toml
	$(PIP) install '.[lint,test]'
	touch $@

$(VENV)/.installed-cmake: $(VENV)/.python
	$(PIP) install cmake
	touch $@

# Holds which interpreter and which checkout the environment was made for. It is looked at every
# time and written only when that changed, so a good environment makes nothing else out of date.
# CMake's caches name both too, so they go with it.
# The .pth puts the checkout last on sys.path: benchmarks is found, aionif is the installed one.
$(VENV)/.python: prerequisites
	@wanted="$$($(PYTHON) -c 'import sys; print(sys.base_prefix, *sys.version_info[:3])') $(CURDIR)"; \
	if ! $(BIN)/python -c '' 2>/dev/null || [ "$$(cat $@ 2>/dev/null)" != "$$wanted" ]; then \
	    echo "making $(VENV)"; \
	    rm -rf build \
	    && $(PYTHON) -m venv --clear $(VENV) \
	    && echo '$(CURDIR)' >"$$($(BIN)/python -c \
	        'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth" \
	    && echo "$$wanted" >$@; \
	fi

prerequisites:
	@sh tools/prerequisites.sh

prerequisites-aarch64:
	@sh tools/prerequisites.sh aarch64
