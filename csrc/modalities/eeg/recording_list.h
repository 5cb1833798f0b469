#pragma once
// The recordings of a source: whose, where, how long. A million fit in little memory, and are opened when they are read.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/lru.h"
#include "data/origins.h"
#include "modalities/eeg/recording.h"

namespace sslmed::eeg {

// What recordings of one device have in common.
struct Montage {
  double sfreq = 0;                                             // Hz
  std::vector<std::string> channels;                            // names
  std::map<std::string, std::array<double, 3>> positions = {};  // mm, by the file's names: of electrodes that were measured; on the sphere of montage.h
  auto operator<=>(const Montage&) const = default;
};

class RecordingList {
 public:
  virtual ~RecordingList() = default;
  virtual std::int64_t size() const = 0;
  virtual const std::vector<Montage>& montages() const = 0;
  virtual std::int32_t montage(std::int64_t i) const = 0;  // into montages()
  virtual std::int32_t subject_code(std::int64_t i) const = 0;
  virtual std::string name(std::int64_t i) const = 0;
  virtual std::string subject(std::int64_t i) const = 0;
  virtual std::string site(std::int64_t i) const = 0;
  virtual void stretches(std::int64_t i, std::vector<Stretch>& into) const = 0;
  virtual std::shared_ptr<const Recording> open(std::int64_t i) const = 0;
};

struct RecordingEntry {
  std::shared_ptr<const Recording> recording;
  std::string subject, site;
  std::map<std::string, std::array<double, 3>> positions = {};  // as in Montage
};

// Recordings that are open, or in memory.
std::shared_ptr<const RecordingList> open_list(std::vector<RecordingEntry> entries);

// Columns of an index, one row a recording.
struct RecordingIndex {
  data::Origins origins;
  std::vector<std::int32_t> montage_codes;
  std::vector<Montage> montages;
  std::vector<std::int64_t> samples;                   // of recordings without gaps
  std::map<std::int64_t, std::vector<Stretch>> gappy;  // of the others
  bool parts = false;                                  // rows are parts of recordings: what else there is in a file is nobody's business
  std::vector<std::int32_t> unit_codes = {};           // into units, -1: the file's own; empty: all are
  std::vector<std::map<std::string, std::string>> units = {};
};

// Files that an index describes. Opening one that is not as described is a FormatError. ValueError for columns that do not fit.
std::shared_ptr<const RecordingList> indexed_list(RecordingIndex index);

}  // namespace sslmed::eeg
