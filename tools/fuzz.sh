#!/usr/bin/env bash
# Coverage-guided fuzzing of the parsers under ASan and UBSan: tools/fuzz.sh SECONDS [TARGET …]. The corpus that grew stays in
# build/fuzz/corpus, what broke a parser in build/fuzz/found; at the end the lines that the corpus reaches.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?seconds a target}
shift
targets=("${@:-}")
[ -n "${targets[0]}" ] || targets=(edf brainvision safetensors tiff image nifti store federated npz)
tools/system_packages.sh clang-14 libclang-rt-14-dev llvm-14 libdeflate-dev
sources=(csrc/core/error.cpp csrc/core/file.cpp csrc/io/edf.cpp csrc/io/edf_header.cpp csrc/io/edf_time.cpp csrc/io/bmp.cpp csrc/io/exif.cpp csrc/io/image.cpp csrc/io/jpeg.cpp csrc/io/tiff_image.cpp
  csrc/io/jpeg_tiles.cpp csrc/io/json.cpp csrc/io/png.cpp csrc/io/safetensors.cpp csrc/io/tiff.cpp csrc/io/tile_cache.cpp
  csrc/io/gzip.cpp csrc/io/inflate_start.cpp csrc/io/nifti.cpp csrc/io/nifti_header.cpp csrc/io/nifti_values.cpp csrc/io/nifti_write.cpp
  csrc/io/volume_store.cpp csrc/io/brainvision.cpp csrc/io/brainvision_header.cpp
  csrc/core/random.cpp csrc/core/thread_pool.cpp csrc/federated/codec.cpp csrc/federated/elias_fano.cpp csrc/federated/hadamard.cpp csrc/federated/low_rank.cpp
  csrc/federated/packing.cpp csrc/federated/qsgd.cpp csrc/federated/random_mask.cpp csrc/federated/rotated.cpp csrc/federated/top_k.cpp
  csrc/io/npy.cpp csrc/io/npz.cpp csrc/io/zip.cpp)
out=build/fuzz
mkdir -p "$out/found"
.venv/bin/python tests/fuzz/make_corpus.py "$out/corpus"
flags=(-std=c++20 -g1 -O1 -Icsrc -Wall -Wno-unknown-attributes -DSSLMED_IMAGES -DSSLMED_DEFLATE
  -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
failed=0
for target in "${targets[@]}"; do
  clang++-14 "${flags[@]}" -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all "tests/fuzz/fuzz_$target.cpp" "${sources[@]}" -ljpeg -lpng -lz -ldeflate -o "$out/$target"
  "$out/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -artifact_prefix="$out/found/$target-" \
    "$out/corpus/$target" 2>"$out/$target.log" || failed=1
  grep -E 'ERROR|Done|stat::(number_of_executed_units|average_exec|peak)' "$out/$target.log" | sed "s/^/$target: /" || true
  clang++-14 "${flags[@]}" -O0 -fprofile-instr-generate -fcoverage-mapping -fsanitize=fuzzer "tests/fuzz/fuzz_$target.cpp" "${sources[@]}" -ljpeg -lpng -lz -ldeflate -o "$out/$target-coverage"
  LLVM_PROFILE_FILE="$out/$target.profraw" "$out/$target-coverage" -runs=0 "$out/corpus/$target" 2>/dev/null
  llvm-profdata-14 merge "$out/$target.profraw" -o "$out/$target.profdata"
  llvm-cov-14 report "$out/$target-coverage" -instr-profile="$out/$target.profdata" "${sources[@]}" | tee "$out/$target-coverage.txt" |
    awk -v t="$target" 'NF > 9 && $1 ~ /cpp$/ { print t ": " $1 ": lines " $10 }'
done
exit $failed
