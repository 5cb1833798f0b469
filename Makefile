# make demo   set up everything and run the main job on the embedded SYNTHETIC cohort
# make test   set up everything and run every check
# The rest is for those who work on sslmed: lint, bench, soak, fuzz, sanitize, gpu, stubs, format, clean.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build/py
# Real recordings, for the tests that compare with other readers on them; those skip visibly without.
export SSLMED_DATA ?= $(abspath $(wildcard ../shared/data))

.PHONY: demo test setup setup-test build build-test lint pytest ctest stubs format bench soak fuzz build-asan sanitize sanitize-cpp sanitize-1 sanitize-2 tsan gpu clean

demo: build
	rm -rf demo
	$(BIN)/sslmed demo --out demo

test: build-test lint ctest pytest

# --- set-up -----------------------------------------------------------------------------------------------------------

$(VENV)/.base: pyproject.toml tools/system_packages.sh
	tools/system_packages.sh libedf-dev libjpeg62-turbo-dev libpng-dev libdeflate-dev
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q 'torch==2.13.*' 'scikit-build-core>=0.10' ninja
	$(BIN)/python tools/requirements.py | xargs -d '\n' $(BIN)/python -m pip install -q
	touch $@

$(VENV)/.test: $(VENV)/.base
	tools/system_packages.sh catch2 ccache
	$(BIN)/python tools/requirements.py test lint oracles bench | xargs -d '\n' $(BIN)/python -m pip install -q
	$(BIN)/python tools/requirements.py --only oracles-bare | xargs -d '\n' $(BIN)/python -m pip install -q --no-deps
	touch $@

setup: $(VENV)/.base
setup-test: $(VENV)/.test

build: setup
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e . -C build-dir=$(BUILD)

build-test: setup-test
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e . -C build-dir=$(BUILD) -C cmake.define.SSLMED_TESTS=ON -C cmake.define.SSLMED_EDFLIB=ON -C cmake.define.SSLMED_IMAGES=ON -C cmake.define.SSLMED_DEFLATE=ON

# --- checks -----------------------------------------------------------------------------------------------------------

CPP := $$(find csrc tests/cpp -name '*.h' -o -name '*.cpp' -o -name '*.cu')

lint: setup-test
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/mypy
	$(BIN)/python tools/check_arrows.py
	$(BIN)/python tools/make_stubs.py --check
	PYTHON=$(BIN)/python tools/compile_cuda.sh

ctest:
	ctest --test-dir $(BUILD) --output-on-failure -j 2

# Two at a time, each with one thread for its tensors; then those that measure time, alone and with all threads.
pytest:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --durations 40 -m 'not alone'
	$(BIN)/python -m pytest -q -m alone

stubs:
	$(BIN)/python tools/make_stubs.py

format:
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .
	$(BIN)/clang-format -i $(CPP)

# Every benchmark writes benchmarks/results/<name>.json: the peer and ours in one run.
# Threads that wait sleep: those that spin take the cores from loaders and from others, and steps became three times as slow.
bench: export OMP_WAIT_POLICY = passive
bench: build-test
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file; done

# What is too long for every commit.
soak: build-test sanitize tsan fuzz
	SSLMED_SOAK=1 $(BIN)/python -m pytest -q -s tests/python -k 'soak or damaged or kill or sigterm'

# Coverage-guided fuzzing of the parsers, half an hour each.
fuzz: setup-test
	tools/fuzz.sh 1800

# All C++ tests, and the Python tests that do not start other processes, under AddressSanitizer and UndefinedBehaviorSanitizer. With -j the parts
# run side by side.
SANITIZED_1 := modalities test_pretraining.py methods/test_python.py training/test_faults.py transforms/test_signal.py io/test_safetensors.py
SANITIZED_2 := io/test_nifti.py io/test_edf.py io/test_edf_real.py io/test_slide.py io/test_read_image.py transforms/test_image.py transforms/test_tissue.py \
	transforms/test_stain.py training/test_loader.py test_masking.py losses metrics nn test_cohort.py io/test_npz.py io/test_qupath.py federated test_objects.py
SANITIZER := ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
build-asan: setup-test
	cmake -S . --preset asan-ubsan -DPython_EXECUTABLE=$(abspath $(BIN))/python -DSKBUILD_PROJECT_VERSION=0
	cmake --build build/asan

sanitize: sanitize-cpp sanitize-1 sanitize-2

sanitize-cpp: build-asan
	$(SANITIZER) ctest --test-dir build/asan --output-on-failure -j 2

sanitize-1 sanitize-2: sanitize-%: build-test build-asan
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" $(SANITIZER) OMP_NUM_THREADS=1 \
	$(BIN)/python tools/sanitized_pytest.py build/asan -q -p no:cacheprovider $(SANITIZED_$*:%=tests/python/%) \
	-k 'not kill and not sigterm and not full_disk and not interpreter_is_free'

tsan: setup-test
	cmake -S . --preset tsan -DPython_EXECUTABLE=$(abspath $(BIN))/python -DSKBUILD_PROJECT_VERSION=0
	cmake --build build/tsan --target test_core test_data
	TSAN_OPTIONS=halt_on_error=1 build/tsan/tests/cpp/test_core
	TSAN_OPTIONS=halt_on_error=1 build/tsan/tests/cpp/test_data

# On a machine with a GPU, whose torch has CUDA; nothing is downloaded. At most nine minutes.
gpu:
	tools/gpu.sh

clean:
	rm -rf build demo $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
