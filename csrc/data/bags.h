#pragma once
// Bags of features: files of rows, each with its place, become one sample. A bag is a slide, or several slides of a patient.

#include <cstdint>
#include <string>
#include <vector>

#include "data/recipe.h"
#include "data/source.h"

namespace sslmed::data {

inline constexpr const char* kBagModality = "features";

// One bag. Its files are safetensors with "features" [N, D] F16 or F32 and "coords" [N, 2] I64 (x, y of a tile's top left
// corner in pixels of level 0), and the metadata "mpp" (µm of such a pixel), "tile" and "step" (of tiles, in such pixels).
struct BagEntry {
  std::string name, subject, site;
  std::vector<std::string> files;
  Targets targets;
};

struct BagOptions {
  std::int64_t max_rows = 0;  // of a bag; others are left out at random, anew in each epoch; 0: all rows
};

// Rows of several files follow each other; on the grid, and in mm, each slide stands below the one before, three empty cells
// apart, so that a convolution of 7 cells sees one slide.
class BagSource : public Source {
 public:
  // ValueError for an entry without files, or no entries.
  BagSource(std::vector<BagEntry> entries, const BagOptions& options);

  std::int64_t size() const override { return static_cast<std::int64_t>(entries_.size()); }
  SampleInfo describe(std::int64_t index) const override;
  std::vector<std::int64_t> first_samples() const override;
  // Arrays: the rows [N, D] at their places (half precision as bytes [N, 2·D]), and "cells" [N, 2] of (row, column).
  Sample sample(std::int64_t index, const Draw& draw) const override;

 private:
  const BagEntry& entry(std::int64_t index) const;

  std::vector<BagEntry> entries_;
  BagOptions options_;
};

// One view of the role "bag": every row is a token.
class BagRecipe : public Recipe {
 public:
  std::vector<View> make(Sample sample, const Draw& draw) const override;
};

}  // namespace sslmed::data
