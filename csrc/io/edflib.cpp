#include "io/edflib.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "core/error.h"

#ifdef SSLMED_EDFLIB
#include <edflib.h>
#endif

namespace sslmed::io {

#ifdef SSLMED_EDFLIB
namespace {

std::mutex& edflib_mutex() {
  static std::mutex mutex;
  return mutex;
}

const char* reason(int code) {
  switch (code) {
    case EDFLIB_NO_SUCH_FILE_OR_DIRECTORY:
      return "no such file";
    case EDFLIB_FILE_CONTAINS_FORMAT_ERRORS:
      return "format errors";
    case EDFLIB_MAXFILES_REACHED:
      return "too many files open at once (EDFlib's limit)";
    case EDFLIB_FILE_READ_ERROR:
      return "a read error";
    case EDFLIB_FILE_ALREADY_OPENED:
      return "a file that EDFlib holds open already";
    case EDFLIB_FILETYPE_ERROR:
      return "another file type";
    case EDFLIB_FILE_IS_DISCONTINUOUS:
      return "a discontinuous file, which EDFlib does not read";
    default:
      return "an error that it does not explain";
  }
}

class Handle {
 public:
  explicit Handle(const std::string& path, int annotations = EDFLIB_READ_ALL_ANNOTATIONS) {
    if (edfopen_file_readonly(path.c_str(), &header, annotations) < 0) throw FormatError(path, "a file that EDFlib accepts", reason(header.filetype));
  }
  ~Handle() { edfclose_file(header.handle); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  edf_hdr_struct header{};
};

}  // namespace

bool edflib_available() noexcept { return true; }

void edflib_validate(const std::string& path) {
  const std::lock_guard lock(edflib_mutex());
  File exists(path);  // a missing file is a ReadError, not a verdict
  const Handle handle(path);
}

std::vector<double> edflib_read_channel(const std::string& path, std::size_t channel) {
  const std::lock_guard lock(edflib_mutex());
  File exists(path);
  const Handle handle(path, EDFLIB_DO_NOT_READ_ANNOTATIONS);
  if (channel >= static_cast<std::size_t>(handle.header.edfsignals))
    throw ValueError(path + ": channel " + std::to_string(channel) + " of " + std::to_string(handle.header.edfsignals));
  std::vector<double> values(static_cast<std::size_t>(handle.header.signalparam[channel].smp_in_file));
  for (std::size_t at = 0; at < values.size();) {
    const int n = static_cast<int>(std::min<std::size_t>(values.size() - at, 1 << 24));
    if (edfread_physical_samples(handle.header.handle, static_cast<int>(channel), n, values.data() + at) != n)
      throw ReadError(path, "EDFlib could not read channel " + std::to_string(channel));
    at += static_cast<std::size_t>(n);
  }
  return values;
}

std::vector<Annotation> edflib_annotations(const std::string& path) {
  const std::lock_guard lock(edflib_mutex());
  File exists(path);
  const Handle handle(path);
  std::vector<Annotation> found;
  for (int i = 0; i < static_cast<int>(handle.header.annotations_in_file); ++i) {
    edf_annotation_struct raw;
    if (edf_get_annotation(handle.header.handle, i, &raw) != 0) throw ReadError(path, "EDFlib could not read annotation " + std::to_string(i));
    Annotation annotation{static_cast<double>(raw.onset) / EDFLIB_TIME_DIMENSION, std::nullopt, raw.annotation};
    if (raw.duration_l >= 0) annotation.duration = static_cast<double>(raw.duration_l) / EDFLIB_TIME_DIMENSION;
    found.push_back(annotation);
  }
  return found;
}

namespace {

void check_writable(const std::string& path, const std::vector<EdfWriteSignal>& signals) {
  if (signals.empty() || signals.size() > EDFLIB_MAXSIGNALS - 1)
    throw ValueError(path + ": 1 to 639 signals can be written, got " + std::to_string(signals.size()));
  for (const auto& signal : signals) {
    if (signal.sfreq <= 0 || signal.n_samples <= 0 || signal.n_samples % signal.sfreq != 0 ||
        signal.n_samples / signal.sfreq != signals.front().n_samples / signals.front().sfreq)
      throw ValueError(path + ": signal " + quote(signal.label) + ": every signal needs the same whole number of seconds");
    if (!(signal.physical_min < signal.physical_max) || !std::isfinite(signal.physical_max - signal.physical_min))
      throw ValueError(path + ": signal " + quote(signal.label) + ": physical_min must be below physical_max, both finite");
    if (signal.label.size() > 16 || signal.unit.size() > 8) throw ValueError(path + ": label " + quote(signal.label) + " has over 16 bytes or its unit over 8");
    for (std::int64_t k = 0; k < signal.n_samples; ++k)
      if (!(signal.data[k] >= signal.physical_min && signal.data[k] <= signal.physical_max))
        throw ValueError(path + ": signal " + quote(signal.label) + " sample " + std::to_string(k) + " is outside its physical range or not finite");
  }
}

void set_up(int handle, const std::vector<EdfWriteSignal>& signals, const std::optional<DateTime>& start, const std::string& patient, bool bdf) {
  int failed = 0;
  for (int i = 0; i < static_cast<int>(signals.size()); ++i) {
    const auto& signal = signals[static_cast<std::size_t>(i)];
    failed |= edf_set_samplefrequency(handle, i, signal.sfreq);
    failed |= edf_set_physical_minimum(handle, i, signal.physical_min);
    failed |= edf_set_physical_maximum(handle, i, signal.physical_max);
    failed |= edf_set_digital_minimum(handle, i, bdf ? -8388608 : -32768);
    failed |= edf_set_digital_maximum(handle, i, bdf ? 8388607 : 32767);
    failed |= edf_set_label(handle, i, signal.label.c_str());
    failed |= edf_set_physical_dimension(handle, i, signal.unit.c_str());
  }
  if (start) failed |= edf_set_startdatetime(handle, start->year, start->month, start->day, start->hour, start->minute, start->second);
  if (!patient.empty()) failed |= edf_set_patientcode(handle, patient.c_str());
  if (failed != 0) throw ValueError("EDFlib refused a header field (a range too wide, or a date outside 1985-2084)");
}

}  // namespace

void edflib_write(const std::string& path, const std::vector<EdfWriteSignal>& signals, const std::vector<Annotation>& annotations,
                  const std::optional<DateTime>& start, const std::string& patient, bool bdf) {
  check_writable(path, signals);
  const std::lock_guard lock(edflib_mutex());
  const std::string temporary = path + ".tmp-" + std::to_string(::getpid());
  const int handle = edfopen_file_writeonly(temporary.c_str(), bdf ? EDFLIB_FILETYPE_BDFPLUS : EDFLIB_FILETYPE_EDFPLUS, static_cast<int>(signals.size()));
  if (handle < 0) throw ReadError(path, std::string("cannot be created: ") + reason(handle));
  try {
    set_up(handle, signals, start, patient, bdf);
    // Enough annotation room: EDFlib writes at most one annotation a record and annotation signal.
    const std::int64_t seconds = signals.front().n_samples / signals.front().sfreq;
    const auto rooms = static_cast<int>(std::min<std::int64_t>(64, static_cast<std::int64_t>(annotations.size()) / seconds + 1));
    if (static_cast<std::int64_t>(annotations.size()) > rooms * seconds) throw ValueError(path + ": more annotations than the records can hold");
    if (edf_set_number_of_annotation_signals(handle, rooms) != 0) throw ValueError(path + ": EDFlib refused the annotation signals");
    for (std::int64_t second = 0; second < seconds; ++second)
      for (const auto& signal : signals)
        if (edfwrite_physical_samples(handle, const_cast<double*>(signal.data + second * signal.sfreq)) != 0)
          throw ReadError(path, "EDFlib could not write samples");
    for (const auto& annotation : annotations)
      // EDFlib's unit here is 100 µs.
      if (edfwrite_annotation_utf8(handle, std::llround(annotation.onset * 1e4), annotation.duration ? std::llround(*annotation.duration * 1e4) : -1,
                                   annotation.text.c_str()) != 0)
        throw ReadError(path, "EDFlib could not write an annotation");
  } catch (...) {
    edfclose_file(handle);
    std::remove(temporary.c_str());
    throw;
  }
  if (edfclose_file(handle) != 0 || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    throw ReadError(path, "cannot be completed", errno);
  }
}

#else

namespace {
[[noreturn]] void missing() {
  throw std::runtime_error("sslmed was built without EDFlib; install libedf-dev and build again to write EDF, to cross-check or to validate strictly");
}
}  // namespace

bool edflib_available() noexcept { return false; }
void edflib_validate(const std::string&) { missing(); }
std::vector<double> edflib_read_channel(const std::string&, std::size_t) { missing(); }
std::vector<Annotation> edflib_annotations(const std::string&) { missing(); }
void edflib_write(const std::string&, const std::vector<EdfWriteSignal>&, const std::vector<Annotation>&, const std::optional<DateTime>&, const std::string&,
                  bool) {
  missing();
}

#endif

}  // namespace sslmed::io
