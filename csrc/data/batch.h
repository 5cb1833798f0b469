#pragma once
// Views of one batch as tensors: patches packed row after row without padding, dense arrays stacked.

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "data/buffer_pool.h"
#include "data/view.h"
#include "ops/augment.h"

namespace sslmed::data {

using Lengths = std::vector<std::int64_t>;

// Pictures whose changes are not made yet (ops/augment.h). Views of one sample share its picture.
struct DeferredBatch {
  at::Tensor pictures;  // [bytes] uint8
  ops::AugmentPlans plans;
  std::int64_t patch = 0;
};

// Tokens of sequences, one after the other.
struct PackedPatches {
  EmbeddingKey key;
  at::Tensor values;  // [ΣN, P] float32, or uint8; undefined while they are deferred
  std::optional<DeferredBatch> deferred;
  at::Tensor coords;   // [ΣN, 4] float32: x, y, z in mm, t in s
  at::Tensor grid;     // [ΣN, rank] int32
  at::Tensor extents;  // [B, rank] int32 on the CPU: cells of each sequence's whole grid
  at::Tensor extra;    // [ΣN] int64; undefined where the modality has none
  Lengths lengths;     // [B] N of each sequence; equal ones stand together, so that attention runs in few calls
};

struct StackedDense {
  std::string modality;
  at::Tensor values;   // [B, C, spatial…] float32, or uint8
  at::Tensor spacing;  // [B, rank] float64 on the CPU: mm; 0 where unknown
};

struct PackedMask {
  at::Tensor visible, masked;               // [ΣK], [ΣM] int64: rows of the patches, or cells of the dense views one after the other
  Lengths visible_lengths, masked_lengths;  // [B] K, M of all blocks
  std::int32_t blocks = 1;                  // that each sequence's masked rows consist of, of equal size
};

// All views of one role, number and embedding (or shape).
struct ViewBatch {
  std::string role;
  std::int32_t number = 0;
  std::variant<PackedPatches, StackedDense> content;
  std::optional<PackedMask> mask;
  std::vector<std::int64_t> slots;  // [B] the view's place in Batch::sample_ids
  // Targets that moved with the views, one tensor a view: label maps int32 [spatial…], points float32 [n, rank + 1] and boxes float32 [n, 2·rank + 1], whose
  // last column is the class.
  std::map<std::string, std::vector<at::Tensor>> targets;

  // ValueError naming `who` where the views are of the other kind.
  const PackedPatches& patches(const char* who) const;
  const StackedDense& dense(const char* who) const;
  const PackedMask& masks(const char* who) const;
  // Tensors there, numbers with a fraction as `type`; the same tensors where they are there already. What was deferred is done, there.
  ViewBatch to(const at::Device& device, at::ScalarType type = at::kFloat) const;
};

struct Batch {
  std::uint64_t number = 0;
  std::vector<std::int64_t> sample_ids;       // in the sampler's order; -1 where a sample could not be read
  std::vector<ViewBatch> views;               // by role, number and key
  std::map<std::string, at::Tensor> targets;  // numbers: [B] float64, as sample_ids; NaN where a sample has none
  std::int64_t samples() const;               // that are there
};

// Batches the views of each sample (an empty list leaves the sample's place empty). Values come from `pool`. Targets: one a sample, or none.
Batch assemble(std::uint64_t number, std::vector<std::int64_t> sample_ids, std::vector<std::vector<View>> views, BufferPool& pool,
               const std::vector<Targets>& targets = {});

}  // namespace sslmed::data
