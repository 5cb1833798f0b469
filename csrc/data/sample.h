#pragma once
// What a source gives of one index. Plain host memory: no model, no device, no torch.

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "data/targets.h"

namespace sslmed::data {

// Of an array [channels, time]: where its channels are, and how it is sampled in time.
struct ChannelSpace {
  double sfreq = 0;                             // Hz
  std::vector<std::array<float, 3>> positions;  // mm, one a channel; NaN where unknown
  std::vector<std::int32_t> extra;              // row of the encoder's table for channels without a position, or -1
};

// Of an array [spatial…, channels] on a regular grid.
struct GridSpace {
  std::vector<double> spacing;  // mm of a cell along each axis; 0 where it is not known
  std::vector<double> origin;   // mm of the first cell's corner along each axis
  std::int32_t extra = -1;      // row of the encoder's table for what the array shows, or -1
  float outside = 0;            // value of what lies beyond the array
};

using Space = std::variant<GridSpace, ChannelSpace>;
using Values = std::variant<std::vector<float>, std::vector<std::uint8_t>>;

struct Array {
  std::string modality;             // a name of the registry: by it a recipe and an encoder know what this is
  std::vector<std::int64_t> shape;  // [channels, time] or [spatial…, channels]
  Values values;                    // row-major
  Space space;
  std::string name = {};  // which of a sample's arrays it is, where there are several: a sequence, a mask
};

struct Sample {
  std::vector<Array> arrays;
  Targets targets;  // places and label maps count in cells of the first array
};

// Where a sample lies within its file: a number with its name and unit.
struct Place {
  std::string name;
  double value;
  const char* unit;
};

// What is known of a sample without reading it.
struct SampleInfo {
  std::string subject, site, file;
  std::int64_t recording = 0;  // the row of its cohort
  std::vector<Place> place;

  // "file, start 12 s": for messages.
  std::string text() const;
};

// Samples [first[r], first[r + 1]) are of group[r]; a group (a subject, a site) may have several runs.
struct GroupRuns {
  std::vector<std::int64_t> first;  // one more than runs
  std::vector<std::int32_t> group;  // codes in [0, n_groups)
  std::int32_t n_groups = 0;
};

}  // namespace sslmed::data
