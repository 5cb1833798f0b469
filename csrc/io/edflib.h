#pragma once
// EDFlib (https://www.teuniz.net/edflib): the reference that writes our files, cross-checks our reader and judges strictly.
// It has global state and is not thread-safe, so every call is made under one mutex.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/edf.h"

namespace sslmed::io {

bool edflib_available() noexcept;

struct EdfWriteSignal {
  std::string label, unit;
  int sfreq = 0;  // samples a second
  double physical_min = 0, physical_max = 0;
  const double* data = nullptr;  // whole seconds, in physical units
  std::int64_t n_samples = 0;
};

// Writes EDF+ (or BDF+) atomically, records of one second. ValueError on what the format cannot hold.
void edflib_write(const std::string& path, const std::vector<EdfWriteSignal>& signals, const std::vector<Annotation>& annotations,
                  const std::optional<DateTime>& start, const std::string& patient, bool bdf);

// One channel as EDFlib reads it. FormatError where it refuses the file.
std::vector<double> edflib_read_channel(const std::string& path, std::size_t channel);
std::vector<Annotation> edflib_annotations(const std::string& path);
// EDFlib's own verdict: FormatError with its reason, or nothing.
void edflib_validate(const std::string& path);

}  // namespace sslmed::io
