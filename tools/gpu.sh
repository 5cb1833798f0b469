#!/usr/bin/env bash
# Builds without the io libraries against this machine's CUDA torch, runs the CUDA parity tests and benchmarks.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import torch, sys; sys.exit(0 if torch.cuda.is_available() else "make gpu: torch sees no GPU here")'
site=$PWD/build/gpu-site
rm -rf "$site"
"$python" -m pip install -q --no-index --no-build-isolation --no-deps --target "$site" . \
  -C build-dir=build/cuda-bare -C cmake.define.SSLMED_CUDA=ON -C cmake.define.SSLMED_EDFLIB=OFF -C cmake.define.SSLMED_IMAGES=OFF -C cmake.define.SSLMED_DEFLATE=OFF -C cmake.define.CMAKE_CUDA_ARCHITECTURES=native
export PYTHONPATH=$site
"$python" -m pytest -q tests/python/test_cuda.py tests/python/losses tests/python/nn
"$python" benchmarks/bench_cuda.py
