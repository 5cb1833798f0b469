#!/usr/bin/env bash
# Compiles every .cu without torch and without a GPU. Skipped visibly where there is no nvcc.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v nvcc >/dev/null; then
  echo "SKIPPED: nvcc is not installed, the CUDA kernels were not compiled"
  exit 0
fi
find csrc -name '*.cu' -print | while read -r file; do
  nvcc -std=c++17 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -Werror all-warnings -Icsrc -c "$file" -o /dev/null
  echo "nvcc: $file ok"
done
