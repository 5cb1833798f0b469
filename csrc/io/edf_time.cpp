// When the records of an EDF file are: its time-stamped annotation lists.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "io/edf.h"

namespace sslmed::io {
namespace {

constexpr double kMaxOnset = 1e10;  // s; beyond it an onset is damage, and sample positions would overflow

// Seconds as the standard has them, or with a decimal comma, which is told in `unusual`.
bool parse_seconds(const char*& at, const char* end, double& value, bool& unusual) {
  std::string text(at, std::find_if(at, end, [](char c) { return c == '\x14' || c == '\x15' || c == '\0'; }));
  if (const auto comma = text.find(','); comma != std::string::npos && text.find('.') == std::string::npos) {
    text[comma] = '.';
    unusual = true;
  }
  const char* begin = text.data() + (!text.empty() && text[0] == '+' ? 1 : 0);
  const auto result = std::from_chars(begin, text.data() + text.size(), value);
  if (result.ec != std::errc() || !std::isfinite(value) || std::abs(value) > kMaxOnset) return false;
  at += result.ptr - text.data();
  return true;
}

// One list from `at` on, which is moved behind what could be read. False where it is malformed.
bool parse_list(const char*& at, const char* end, bool first, std::optional<double>& record_onset, bool& unusual, std::vector<Annotation>& out) {
  if (*at >= '0' && *at <= '9') {
    unusual = true;
  } else if (*at != '+' && *at != '-') {
    return false;
  }
  double onset = 0;
  if (!parse_seconds(at, end, onset, unusual)) return false;
  std::optional<double> duration;
  if (at < end && *at == '\x15') {
    ++at;
    double value = 0;
    if (at < end && *at != '\x14') {
      if (!parse_seconds(at, end, value, unusual) || value < 0) return false;
      duration = value;
    }
  }
  if (at >= end || *at != '\x14') return false;
  ++at;
  while (at < end && *at != '\0') {
    const char* stop = std::find_if(at, end, [](char c) { return c == '\x14' || c == '\0'; });
    if (stop == end || *stop == '\0') return false;  // every text ends with \x14
    // The time-keeping annotation is the first, and its text is empty.
    if (first) record_onset = onset;
    first = false;
    if (stop != at) out.push_back({onset, duration, to_utf8(std::string(at, stop))});
    at = stop + 1;
  }
  return true;
}

}  // namespace

ListFaults parse_annotation_lists(const std::string& bytes, bool keeps_time, std::optional<double>& record_onset, std::vector<Annotation>& out) {
  const char* at = bytes.data();
  const char* end = at + bytes.size();
  bool first = keeps_time;
  ListFaults faults;
  while (at < end) {
    if (*at == '\0' || *at == ' ') {  // some writers pad with blanks
      first = first && *at == ' ';    // the list that keeps the time is missing: what follows are annotations
      ++at;
      continue;
    }
    if (!parse_list(at, end, first, record_onset, faults.unusual, out)) {
      ++faults.malformed;
      at = std::find(at, end, '\0');
    }
    first = false;
  }
  return faults;
}

EdfFile::RecordTime EdfFile::time_of_record(std::int64_t record) const {
  const EdfSignal& signal = header_.signals[annotations_.front()];
  const std::string bytes = annotation_bytes(record, signal);
  RecordTime time;
  std::optional<double> onset;
  std::vector<Annotation> ignored;
  const ListFaults faults = parse_annotation_lists(bytes, true, onset, ignored);
  time.is_empty = bytes.find_first_not_of(std::string("\0 ", 2)) == std::string::npos;
  time.onset = onset.value_or(0);
  time.valid = onset.has_value();
  time.unusual = faults.unusual;
  if (time.valid && bytes[0] >= '0' && bytes[0] <= '9') {
    // An onset without its sign, or a file that has lost a byte and whose samples are all shifted: then the sign is right before.
    char before = 0;
    file_.read(&before, 1, static_cast<std::uint64_t>(header_.header_bytes + record * header_.record_bytes + signal.byte_offset - 1));
    if (faults.malformed > 0 || before == '+' || before == '-') time.valid = false;
  }
  if (!time.valid) time.found = quote(bytes.substr(0, 24));
  return time;
}

// Continuous files need no onsets. But what is no onset in both the first and the last record may be samples, which are then
// elsewhere than the header says.
void EdfFile::check_time_keeping(const RecordTime& first, const RecordTime& last) {
  if (first.unusual || last.unusual)
    warnings_.push_back(path() + ": its annotations have onsets without a sign or with a decimal comma; read as numbers of seconds");
  if (header_.says_discontinuous) return;  // all records are looked at
  const auto told = [&](const RecordTime& time) { return time.is_empty ? std::string("nothing") : time.found; };
  if (!first.valid && !first.is_empty && !last.valid)
    throw FormatError(path(), "a time-keeping annotation at the start of record 0", first.found + "; the samples may be shifted");
  if (!first.valid || !last.valid)
    warnings_.push_back(path() + ": expected a time-keeping annotation in every record, found " + told(first.valid ? last : first) + " in the " +
                        (first.valid ? "last" : "first") + "; read as continuous, as the header says");
}

// Of each record the onset, NaN where it is not known. A discontinuous file's record without an onset is where the records
// around it leave room for nothing else, or nowhere; in one that says that it is continuous it follows the one before.
std::vector<double> EdfFile::scanned_onsets(double tolerance) {
  const auto n = static_cast<std::size_t>(header_.n_records);
  const double step = header_.record_duration;
  std::vector<double> onsets(n, std::numeric_limits<double>::quiet_NaN());
  std::size_t without = 0, placed = 0, known = n;  // known: the last record that has an onset
  std::string first_without;
  for (std::size_t record = 0; record < n; ++record) {
    const RecordTime time = time_of_record(static_cast<std::int64_t>(record));
    if (time.valid) {
      if (known < n && time.onset < onsets[known] + step - tolerance)
        throw FormatError(path(), "records that follow each other in time",
                          "record " + std::to_string(record) + " at " + std::to_string(time.onset) + " s after one at " + std::to_string(onsets[known]) + " s");
      onsets[record] = time.onset;
      const std::size_t between = known < n ? record - known - 1 : 0;
      if (between > 0 && std::abs(time.onset - onsets[known] - step * static_cast<double>(between + 1)) <= tolerance) {
        for (std::size_t k = 1; k <= between; ++k) onsets[known + k] = onsets[known] + step * static_cast<double>(k);
        placed += between;
      }
      known = record;
    } else if (header_.says_discontinuous) {
      if (without++ == 0) first_without = "record " + std::to_string(record) + " has " + (time.is_empty ? std::string("nothing") : time.found);
    } else {
      onsets[record] = (known < n ? onsets[known] : first_onset_ - step) + step;  // the header says that there is no gap
      known = record;
    }
  }
  if (without == n) throw FormatError(path(), "an onset for every record of a discontinuous file", "none in " + std::to_string(n) + "; " + first_without);
  if (without > 0)
    warnings_.push_back(path() + ": expected an onset for every record of a discontinuous file, found none in " + std::to_string(without) + " of " +
                        std::to_string(n) + ": " + first_without + "; " + std::to_string(placed) + " are placed by the records around them, and " +
                        std::to_string(without - placed) + " are left out");
  return onsets;
}

void EdfFile::find_segments() {
  const std::int64_t n = header_.n_records;
  if (n == 0) return;
  const bool timed = header_.is_plus && !annotations_.empty();
  if (header_.is_plus && annotations_.empty()) {
    if (header_.says_discontinuous) throw FormatError(path(), "an annotation signal that times the records of a discontinuous file", "none");
    warnings_.push_back(path() + ": EDF+ without an annotation signal; read as continuous");
  }
  if (!timed) {
    segments_.push_back({0, n, 0.0});
    return;
  }
  const double step = header_.record_duration;
  std::int64_t densest = 1;
  for (const auto i : channels_) densest = std::max(densest, header_.signals[i].samples_per_record);
  const double tolerance = 0.5 * step / static_cast<double>(densest) + 1e-6;
  bool scan = header_.says_discontinuous;
  const RecordTime first = time_of_record(0), last = n > 1 && !scan ? time_of_record(n - 1) : first;
  check_time_keeping(first, last);
  first_onset_ = first.valid || !last.valid ? first.onset : last.onset - step * static_cast<double>(n - 1);
  if (!scan && n > 1) {
    // A continuous file is believed when its last record is where it should be; otherwise every record is looked at.
    scan = first.valid && last.valid && std::abs(last.onset - first.onset - step * static_cast<double>(n - 1)) > tolerance;
    if (scan) warnings_.push_back(path() + ": says that it is continuous, but its records are not; gaps are kept");
  }
  if (!scan) {
    segments_.push_back({0, n, 0.0});
    return;
  }
  const std::vector<double> onsets = scanned_onsets(tolerance);
  for (std::int64_t record = 0; record < n; ++record) {
    const double onset = onsets[static_cast<std::size_t>(record)];
    if (std::isnan(onset)) continue;
    if (segments_.empty()) first_onset_ = onset;
    // Compared with the segment's start, so that rounding in the onsets does not accumulate.
    Segment* segment = segments_.empty() ? nullptr : &segments_.back();
    if (segment != nullptr && segment->first_record + segment->n_records == record &&
        std::abs(onset - first_onset_ - segment->onset - step * static_cast<double>(segment->n_records)) <= tolerance) {
      ++segment->n_records;
    } else {
      segments_.push_back({record, 1, onset - first_onset_});
    }
  }
}

// The header's start and the first record's onset, which is less than a second in most files.
std::optional<DateTime> EdfFile::start() const {
  if (!header_.start) return std::nullopt;
  using namespace std::chrono;
  const DateTime& from = *header_.start;
  const double whole = std::floor(first_onset_);
  const sys_seconds moment =
      sys_days{year{from.year} / from.month / from.day} + hours{from.hour} + minutes{from.minute} + seconds{from.second + static_cast<std::int64_t>(whole)};
  const auto day = floor<days>(moment);
  const year_month_day date{day};
  const hh_mm_ss time{moment - day};
  return DateTime{static_cast<int>(date.year()),
                  static_cast<int>(static_cast<unsigned>(date.month())),
                  static_cast<int>(static_cast<unsigned>(date.day())),
                  static_cast<int>(time.hours().count()),
                  static_cast<int>(time.minutes().count()),
                  static_cast<int>(time.seconds().count()),
                  std::min(999'999, static_cast<int>(std::llround((first_onset_ - whole) * 1e6)))};
}

std::vector<double> EdfFile::record_onsets() const {
  std::vector<double> onsets(static_cast<std::size_t>(header_.n_records), std::numeric_limits<double>::quiet_NaN());
  for (const auto& segment : segments_)
    for (std::int64_t k = 0; k < segment.n_records; ++k)
      onsets[static_cast<std::size_t>(segment.first_record + k)] = first_onset_ + segment.onset + header_.record_duration * static_cast<double>(k);
  return onsets;
}

std::vector<Annotation> EdfFile::annotations(std::vector<std::string>& notes) const {
  std::vector<Annotation> found;
  std::int64_t malformed = 0, first_record = 0;
  for (std::int64_t record = 0; record < header_.n_records; ++record) {
    for (const auto i : annotations_) {
      std::optional<double> onset;
      const auto faults = parse_annotation_lists(annotation_bytes(record, header_.signals[i]), i == annotations_.front(), onset, found);
      if (malformed == 0) first_record = record;
      malformed += faults.malformed;
    }
  }
  if (malformed > 0)
    notes.push_back(path() + ": " + std::to_string(malformed) + " lists of annotations are malformed, the first in record " + std::to_string(first_record) +
                    ", and left out; " + std::to_string(found.size()) + " annotations are read");
  for (auto& annotation : found) annotation.onset -= first_onset_;
  std::stable_sort(found.begin(), found.end(), [](const Annotation& a, const Annotation& b) { return a.onset < b.onset; });
  return found;
}

}  // namespace sslmed::io
