#!/usr/bin/env bash
# Compiles every .cu without torch and without a GPU, and looks through the code that launches them. Skipped visibly where there is no nvcc.
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

# torch for CPUs has CUDA's declarations, but for one generated header, which is empty but for build options.
torch=$("${PYTHON:-python3}" -c 'import torch, os; print(os.path.dirname(torch.__file__))')
toolkit=$(nvcc --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ INCLUDES="-I\(.*\)".*/\1/p')
stub=$(mktemp -d)
trap 'rm -r "$stub"' EXIT
mkdir -p "$stub/c10/cuda/impl"
touch "$stub/c10/cuda/impl/cuda_cmake_macros.h"
for file in csrc/ops/cuda/*.cpp; do
  g++ -std=c++20 -fsyntax-only -Wall -Wextra -Werror -Icsrc -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include" -isystem "$stub" -isystem "$toolkit" "$file"
  echo "g++: $file ok"
done
