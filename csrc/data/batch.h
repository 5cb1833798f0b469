#pragma once
// Samples of one batch as tensors. Views of one role and embedding are packed row after row, without padding.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "data/buffer_pool.h"
#include "data/sample.h"

namespace sslmed::data {

// Pictures whose changes are not made yet (ops/augment.h). Views of one sample share its picture.
struct DeferredBatch {
  at::Tensor pictures;  // [bytes] uint8
  at::Tensor sources;   // [views, 3] int64: first byte, width, height
  at::Tensor plans;     // [views, sizeof(AugmentPlan)] uint8
  std::int64_t patch = 0;
};

struct PatchBatch {
  std::string role;
  std::int64_t embedding = 0;
  at::Tensor values;  // [ΣN, P] float32, or uint8 of pictures; undefined while they are deferred
  DeferredBatch deferred;
  at::Tensor coords;                         // [ΣN, 4] float32: x, y, z in mm, t in s
  at::Tensor grid;                           // [ΣN, 2] int32
  at::Tensor extra;                          // [ΣN] int64
  at::Tensor keep, masked;                   // [ΣK], [ΣM] int64 rows of `values`; undefined without a mask
  std::vector<std::int64_t> lengths;         // [B] N of each sequence; equal ones stand together, so that attention runs in few calls
  std::vector<std::int64_t> keep_lengths;    // [B] K
  std::vector<std::int64_t> masked_lengths;  // [B] M of all blocks
  std::int32_t blocks = 1;                   // that each sequence's masked rows consist of, of equal size
  std::vector<std::int64_t> slots;           // [B] the sequence's place in Batch::sample_ids

  // Tensors there, numbers with a fraction as `type`; the same tensors where they are there already. What was deferred is done, there.
  PatchBatch to(const at::Device& device, at::ScalarType type = at::kFloat) const;
};

struct Batch {
  std::uint64_t number = 0;
  std::vector<std::int64_t> sample_ids;  // in the sampler's order; -1 where a sample could not be read
  std::vector<PatchBatch> patches;
  std::map<std::string, at::Tensor> targets;  // [B] float64, as sample_ids; NaN where a sample has none
  std::int64_t samples() const;               // that are there
};

// Packs the views of each sample (an empty list leaves the sample's place empty). Values come from `pool`. Targets: one a sample, or none.
Batch assemble(std::uint64_t number, std::vector<std::int64_t> sample_ids, std::vector<std::vector<PatchView>> views, BufferPool& pool,
               const std::vector<Targets>& targets = {});

}  // namespace sslmed::data
