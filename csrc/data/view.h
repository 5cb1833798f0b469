#pragma once
// What a recipe makes of a sample: patches of a grid, or a dense array. Plain host memory, as samples are.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/embedding.h"
#include "data/sample.h"
#include "masking/mask.h"
#include "transforms/augment_plan.h"

namespace sslmed::data {

// A picture whose changes are drawn here and made later, where the model is. Views of one sample share the picture.
struct Deferred {
  std::shared_ptr<const Array> picture;  // [height, width, 3] uint8
  transforms::AugmentPlan plan;
};

// Tokens of one sample under one embedding.
struct Patches {
  EmbeddingKey key;
  std::int64_t count = 0;
  std::variant<std::vector<float>, std::vector<std::uint8_t>, Deferred> values;  // [count, P] in (p…, c) order; bytes stay bytes until they are embedded
  std::vector<float> coords;                                                     // [count, 4]: x, y, z in mm, t in s; NaN where unknown
  std::vector<std::int32_t> grid;                                                // [count, rank]: the cell of each
  std::vector<std::int32_t> extent;                                              // [rank]: cells of the whole grid, which `grid` may show a part of
  std::vector<std::int32_t> extra;  // [count]: row of the table for channels without a position, or -1; empty: none
};

struct Dense {
  std::string modality;
  std::vector<std::int64_t> shape;  // [channels, spatial…]
  Values values;
  std::vector<double> spacing;  // mm along each spatial axis; 0 where it is not known
};

// Views of one role, number and kind are batched together. A sample may have several of them (complementary masks).
struct View {
  std::string role = "tokens";
  std::int32_t number = 0;
  std::variant<Patches, Dense> content;
  std::optional<masking::Mask> mask;  // rows of the patches, or cells of a grid over the dense array (row-major)
  Targets targets;                    // those that moved with the view's geometry
};

}  // namespace sslmed::data
