#pragma once
// What a source gives and what a recipe makes of it. Plain host memory: no model, no device, no torch.

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sslmed::data {

// Where the rows of an array lie: electrodes on a head, sampled in time. Other modalities add theirs beside it.
struct ElectrodeSpace {
  double sfreq = 0;                             // Hz
  std::vector<std::array<float, 3>> positions;  // mm, one a row; NaN where unknown
  std::vector<std::int32_t> extra;              // row of the learned table for unknown electrodes, or -1
};

using Targets = std::map<std::string, double>;  // labels by name

struct Sample {
  std::vector<float> values;        // row-major
  std::vector<std::int64_t> shape;  // [channels, time]
  ElectrodeSpace space;
  Targets targets;
};

// What is known of a sample without reading it.
struct SampleInfo {
  std::string subject, site, file;
  std::int64_t recording = 0;
  double start = 0, duration = 0;  // s
};

// Samples [first[r], first[r + 1]) are of subject[r]; a subject may have several runs.
struct SubjectRuns {
  std::vector<std::int64_t> first;    // one more than runs
  std::vector<std::int32_t> subject;  // codes in [0, n_subjects)
  std::int32_t n_subjects = 0;
};

// Tokens of one sample under one embedding: `count` patches of `patch` values, with places and an optional mask.
struct PatchView {
  std::string role = "tokens";
  std::int64_t embedding = 0;  // views are grouped by it; samples of one embedding share a patch size
  std::int64_t count = 0, patch = 0;
  std::vector<float> values;        // [count, patch]
  std::vector<float> coords;        // [count, 4]: x, y, z in mm, t in s
  std::vector<std::int32_t> grid;   // [count, 2]: row, step
  std::vector<std::int32_t> extra;  // [count]: row of the learned table, or -1
  // Rows; both empty without a mask. Ascending, or with several target blocks: block after block, each and the context in its grid's order.
  std::vector<std::int32_t> keep, masked;
  std::int32_t blocks = 1;  // equal parts that `masked` consists of
};

}  // namespace sslmed::data
