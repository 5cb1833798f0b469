#pragma once
// The header and marker files of BrainVision (Brain Products' Core Data Format 1.0): texts of sections, keys and values.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/edf_header.h"
#include "io/signal_file.h"

namespace sslmed::io {

enum class BrainVisionNumber { kInt16, kUint16, kInt32, kFloat32 };

struct BrainVisionChannel {
  std::string name, unit;  // UTF-8; "µV" where the header has no unit
  double resolution = 1;   // of one stored unit, in `unit`
};

struct BrainVisionHeader {
  std::string data_file, marker_file;  // as the header names them, with $b replaced; marker_file may be empty
  BrainVisionNumber number = BrainVisionNumber::kInt16;
  bool vectorized = false;              // channel after channel instead of sample after sample
  double sfreq = 0;                     // Hz
  std::optional<std::int64_t> samples;  // of each channel, where the header says it
  std::vector<BrainVisionChannel> channels;
  std::int64_t sample_bytes() const;
};

struct BrainVisionMarkers {
  std::vector<Annotation> annotations;  // "Type/Description", sorted by onset
  std::optional<DateTime> start;        // of the first "New Segment" that has a date
  std::int64_t malformed = 0;           // lines that could not be read
};

// Parses the text of a .vhdr; `path` is for messages and gives $b. What can be salvaged is described in `warnings`.
// FormatError for what is not a continuous binary recording, with what to do.
BrainVisionHeader parse_brainvision_header(const std::string& path, const std::string& text, std::vector<std::string>& warnings);
// Parses the text of a .vmrk. FormatError when it is no marker file.
BrainVisionMarkers parse_brainvision_markers(const std::string& path, const std::string& text, double sfreq);

}  // namespace sslmed::io
