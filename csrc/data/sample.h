#pragma once
// What a source gives and what a recipe makes of it. Plain host memory: no model, no device, no torch.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "transforms/augment_plan.h"

namespace sslmed::data {

// Where the rows of an array lie: electrodes on a head, sampled in time. Other modalities add theirs beside it.
struct ElectrodeSpace {
  double sfreq = 0;                             // Hz
  std::vector<std::array<float, 3>> positions;  // mm, one a row; NaN where unknown
  std::vector<std::int32_t> extra;              // row of the learned table for unknown electrodes, or -1
};

// Where a picture lies on its slide.
struct PictureSpace {
  double x = 0, y = 0;       // mm of its corner
  double pixel[2] = {0, 0};  // mm of a pixel in x and y; 0 where the scale is not known
};

using Targets = std::map<std::string, double>;  // labels by name

struct Sample {
  std::vector<float> values;         // of a signal, row-major
  std::vector<std::uint8_t> pixels;  // of a picture, row-major
  std::vector<std::int64_t> shape;   // [channels, time], or [height, width, 3]
  ElectrodeSpace space;              // of a signal
  PictureSpace picture;
  Targets targets;
};

// What is known of a sample without reading it.
struct SampleInfo {
  std::string subject, site, file;
  std::int64_t recording = 0;
  double start = 0, duration = 0;  // s
  double x = 0, y = 0;             // of a picture's corner on its slide, in pixels of level 0
};

// Samples [first[r], first[r + 1]) are of group[r]; a group (a subject, a site) may have several runs.
struct GroupRuns {
  std::vector<std::int64_t> first;  // one more than runs
  std::vector<std::int32_t> group;  // codes in [0, n_groups)
  std::int32_t n_groups = 0;
};

// A picture whose changes are made later, where the model is. Views of one sample share it.
struct Deferred {
  std::shared_ptr<const Sample> picture;
  transforms::AugmentPlan plan;
  std::int64_t patch = 0;  // pixels of a token's sides
};

// Tokens of one sample under one embedding: `count` patches of `patch` values, with places and an optional mask.
struct PatchView {
  std::string role = "tokens";
  std::int64_t embedding = 0;  // views are grouped by it; samples of one embedding share a patch size
  std::int64_t count = 0, patch = 0;
  std::vector<float> values;         // [count, patch], or
  std::vector<std::uint8_t> pixels;  // [count, patch]: bytes stay bytes until they are embedded, or
  Deferred deferred;
  std::vector<float> coords;        // [count, 4]: x, y, z in mm, t in s
  std::vector<std::int32_t> grid;   // [count, 2]: row, step
  std::vector<std::int32_t> extra;  // [count]: row of the learned table, or -1
  // Rows; both empty without a mask. Ascending, or with several target blocks: block after block, each and the context in its grid's order.
  std::vector<std::int32_t> keep, masked;
  std::int32_t blocks = 1;  // equal parts that `masked` consists of
};

}  // namespace sslmed::data
