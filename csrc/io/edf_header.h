#pragma once
// The header of EDF (Kemp et al. 1992), EDF+ (Kemp and Olivan 2003) and BDF (BioSemi): what it says, checked.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"

namespace sslmed::io {

struct DateTime {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, microsecond = 0;
};

struct EdfSignal {
  std::string label, unit, transducer, prefilter;  // UTF-8, stripped
  double physical_min = 0, physical_max = 0, digital_min = 0, digital_max = 0;
  std::int64_t samples_per_record = 0;
  std::int64_t byte_offset = 0;  // within a record
  bool is_annotation = false;
  // physical = gain * stored + offset. Without it (equal digital limits, a non-finite or empty physical range) the stored
  // numbers have no physical meaning, and reading the signal is refused.
  bool has_scale = false;
  double gain = 0, offset = 0;
};

struct EdfHeader {
  bool is_bdf = false;
  bool is_plus = false;             // EDF+ or BDF+: annotation signals keep the time
  bool says_discontinuous = false;  // EDF+D or BDF+D
  std::string patient, recording;
  std::optional<DateTime> start;
  std::int64_t header_bytes = 0;
  std::int64_t n_records = 0;  // whole records that the file really holds
  std::int64_t record_bytes = 0;
  double record_duration = 0;  // s
  std::vector<EdfSignal> signals;
  int sample_bytes() const { return is_bdf ? 3 : 2; }
};

int days_in_month(int month, int year);

// Text of unknown encoding (UTF-8 where it is valid, Latin-1 otherwise) as UTF-8.
std::string to_utf8(const std::string& bytes);

// Parses and checks. What can be salvaged is described in `warnings`; otherwise FormatError or ReadError.
EdfHeader read_edf_header(const File& file, std::vector<std::string>& warnings);

}  // namespace sslmed::io
