#pragma once
// Brings the volumes of a session to one grid, one orientation and one scale: the same bytes for the same files, always.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/nifti.h"
#include "io/volume_store.h"

namespace sslmed::volume {

enum class Crop {
  kForeground,  // the box around the mask, and a margin
  kNone,
};

enum class Normalize {
  kZscore,  // by mean and deviation within the mask, after clipping
  kNone,    // the file's values
};

enum class Storage { kInt16, kUint8 };

struct PreparationOptions {
  std::array<double, 3> spacing{1, 1, 1};  // mm; 0: the first sequence's own
  Crop crop = Crop::kForeground;
  double margin = 4;                      // mm around the mask's box
  std::array<double, 2> clip{0.5, 99.5};  // percentiles within the mask
  Normalize normalize = Normalize::kZscore;
  Storage storage = Storage::kInt16;
};

void check(const PreparationOptions& options);  // ValueError that names the parameter
// The options as JSON: kept in a store, and compared when it is used.
std::string text_of(const PreparationOptions& options);

// What belongs to a session. All volumes lie in one space, that of the scanner; their grids may differ.
struct Session {
  std::vector<std::pair<std::string, io::Volume3>> sequences;  // by name; the first one's grid is the reference
  std::optional<io::Volume3> mask, deface, labels;             // anatomy; voxels changed for anonymity; classes
};

// Channels: the sequences, "mask", and "deface" and "labels" where they are given. `name` is for messages.
io::StoreVolume prepare(const std::string& name, const Session& session, const PreparationOptions& options);

// The files of a session; empty: there is none.
struct SessionFiles {
  std::vector<std::pair<std::string, std::string>> sequences;
  std::string mask, deface, labels;
};

Session read_session(const SessionFiles& files, std::vector<std::string>& warnings);

}  // namespace sslmed::volume
