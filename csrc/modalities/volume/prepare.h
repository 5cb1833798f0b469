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

// The files of a session; empty: there is none.
struct SessionFiles {
  std::vector<std::pair<std::string, std::string>> sequences;
  std::string mask, deface, labels;
};

// What belongs to a session. All volumes lie in one space, that of the scanner; their grids may differ.
struct Session {
  std::vector<std::pair<std::string, io::Volume3>> sequences;  // by name; the first one's grid is the reference
  std::optional<io::Volume3> mask, deface, labels;             // anatomy; voxels changed for anonymity; classes
  SessionFiles files{};                                        // for messages: where the volumes were read, where known
};

// Hexadecimal: of the values as they were decoded, in the file's order, and of the shape. The same for a volume however
// it is prepared.
std::string checksum_of(const io::Volume3& volume);
// That of the first sequence, out of a store's facts. FormatError where they have none.
std::string first_checksum(const std::string& path, const std::string& facts);

// Channels: the sequences, "mask", and "deface" and "labels" where they are given. `name` is for messages. Beyond its
// field of view a mask, deface or labels is 0; a sequence has the lowest value there, which counts in no mean, std or
// percentile, and a text is added to `warnings` where it lacks more than a tenth of the mask. FormatError names the file
// (or "name: sequence") that is wrong.
io::StoreVolume prepare(const std::string& name, const Session& session, const PreparationOptions& options, std::vector<std::string>& warnings);

Session read_session(const SessionFiles& files, std::vector<std::string>& warnings);

}  // namespace sslmed::volume
