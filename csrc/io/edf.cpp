#include "io/edf.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::io {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "samples are little-endian and copied as they are");
constexpr double kMaxOnset = 1e10;  // s; beyond it an onset is damage, and sample positions would overflow

template <class Real>
SSLMED_INLINE void scale_i16(const unsigned char* from, std::int64_t n, Real gain, Real offset, Real* into) {
  for (std::int64_t k = 0; k < n; ++k) {
    std::int16_t stored;
    std::memcpy(&stored, from + 2 * k, 2);
    into[k] = static_cast<Real>(stored) * gain + offset;
  }
}
SSLMED_CLONES void convert_i16(const unsigned char* from, std::int64_t n, float gain, float offset, float* into) { scale_i16(from, n, gain, offset, into); }
SSLMED_CLONES void convert_i16(const unsigned char* from, std::int64_t n, double gain, double offset, double* into) { scale_i16(from, n, gain, offset, into); }

// Sixteen bytes hold five samples and one byte; four of them are moved to the upper bytes of four integers at once. What is in
// the lowest byte is shifted out.
template <class Real>
SSLMED_INLINE void scale_i24(const unsigned char* from, std::int64_t n, Real gain, Real offset, Real* into) {
  typedef unsigned char Bytes __attribute__((vector_size(16)));
  typedef std::int32_t Integers __attribute__((vector_size(16)));
  typedef Real Four __attribute__((vector_size(4 * sizeof(Real))));
  std::int64_t k = 0;
  for (; k + 10 <= n; k += 8) {  // the last sixteen bytes end inside the tenth sample
    for (int half = 0; half < 2; ++half) {
      Bytes bytes;
      std::memcpy(&bytes, from + 3 * k + 12 * half, sizeof bytes);
      const Bytes spread = __builtin_shufflevector(bytes, bytes, 0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11);
      Integers stored;
      std::memcpy(&stored, &spread, sizeof stored);
      const Four values = __builtin_convertvector(stored >> 8, Four) * gain + offset;
      std::memcpy(into + k + 4 * half, &values, sizeof values);
    }
  }
  for (; k < n; ++k) {
    const unsigned char* at = from + 3 * k;
    const auto stored =
        static_cast<std::int32_t>(static_cast<std::uint32_t>(at[0]) << 8 | static_cast<std::uint32_t>(at[1]) << 16 | static_cast<std::uint32_t>(at[2]) << 24) >>
        8;
    into[k] = static_cast<Real>(stored) * gain + offset;
  }
}
SSLMED_CLONES void convert_i24(const unsigned char* from, std::int64_t n, float gain, float offset, float* into) { scale_i24(from, n, gain, offset, into); }
SSLMED_CLONES void convert_i24(const unsigned char* from, std::int64_t n, double gain, double offset, double* into) { scale_i24(from, n, gain, offset, into); }

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

// The record buffer of a thread, kept between reads; bounded by kChunk unless one record is larger.
std::vector<unsigned char>& scratch() {
  thread_local std::vector<unsigned char> buffer;
  return buffer;
}
constexpr std::int64_t kChunk = 1 << 20;

}  // namespace

ListFaults parse_annotation_lists(const std::string& bytes, bool keeps_time, std::optional<double>& record_onset, std::vector<Annotation>& out) {
  const char* at = bytes.data();
  const char* end = at + bytes.size();
  bool first = keeps_time;
  ListFaults faults;
  while (at < end) {
    if (*at == '\0' || *at == ' ') {  // some writers pad with blanks
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

EdfFile::EdfFile(const std::string& path) : file_(path), header_(read_edf_header(file_, warnings_)) {
  for (std::size_t i = 0; i < header_.signals.size(); ++i) (header_.signals[i].is_annotation ? annotations_ : channels_).push_back(i);
  find_segments();
}

std::string EdfFile::annotation_bytes(std::int64_t record, const EdfSignal& signal) const {
  std::string bytes(static_cast<std::size_t>(signal.samples_per_record * header_.sample_bytes()), '\0');
  file_.read(bytes.data(), bytes.size(), static_cast<std::uint64_t>(header_.header_bytes + record * header_.record_bytes + signal.byte_offset));
  return bytes;
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
  const auto told = [&](const RecordTime& time) { return time.is_empty ? std::string("nothing") : time.found; };
  if (!first.valid && !first.is_empty && !last.valid)
    throw FormatError(path(), "a time-keeping annotation at the start of record 0", first.found + "; the samples may be shifted");
  if (header_.says_discontinuous && !first.valid) throw FormatError(path(), "an onset for every record of a discontinuous file", told(first) + " in record 0");
  if (!first.valid || !last.valid)
    warnings_.push_back(path() + ": expected a time-keeping annotation in every record, found " + told(first.valid ? last : first) + " in the " +
                        (first.valid ? "last" : "first") + "; read as continuous, as the header says");
  if (first.unusual || last.unusual)
    warnings_.push_back(path() + ": its annotations have onsets without a sign or with a decimal comma; read as numbers of seconds");
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
  segments_.push_back({0, n, 0.0});
  if (!scan) return;
  segments_.back().n_records = 1;
  double previous = first.onset;
  for (std::int64_t record = 1; record < n; ++record) {
    RecordTime time = time_of_record(record);
    if (!time.valid && header_.says_discontinuous)
      throw FormatError(path(), "an onset for every record of a discontinuous file", time.found + " in record " + std::to_string(record));
    if (!time.valid) time.onset = previous + step;  // the header says that there is no gap
    if (time.onset < previous + step - tolerance)
      throw FormatError(path(), "records that follow each other in time",
                        "record " + std::to_string(record) + " at " + std::to_string(time.onset) + " s after one at " + std::to_string(previous) + " s");
    // Compared with the segment's start, so that rounding in the onsets does not accumulate.
    Segment& segment = segments_.back();
    const double expected = first_onset_ + segment.onset + step * static_cast<double>(segment.n_records);
    if (std::abs(time.onset - expected) <= tolerance) {
      ++segment.n_records;
    } else {
      segments_.push_back({record, 1, time.onset - first_onset_});
    }
    previous = time.onset;
  }
}

double EdfFile::sfreq(std::size_t i) const { return static_cast<double>(channel(i).samples_per_record) / header_.record_duration; }
std::int64_t EdfFile::n_samples(std::size_t i) const { return channel(i).samples_per_record * header_.n_records; }

std::optional<DateTime> EdfFile::start() const {
  auto start = header_.start;
  const double fraction = first_onset_ - std::floor(first_onset_);
  if (start) start->microsecond = std::min(999'999, static_cast<int>(std::llround(fraction * 1e6)));
  return start;
}

std::vector<double> EdfFile::record_onsets() const {
  std::vector<double> onsets;
  for (const auto& segment : segments_)
    for (std::int64_t k = 0; k < segment.n_records; ++k) onsets.push_back(first_onset_ + segment.onset + header_.record_duration * static_cast<double>(k));
  return onsets;
}

double EdfFile::duration() const {
  if (segments_.empty()) return 0;
  return segments_.back().onset + header_.record_duration * static_cast<double>(segments_.back().n_records);
}

std::vector<Stretch> EdfFile::stretches(std::size_t i) const {
  std::vector<Stretch> found;
  for (const auto& segment : segments_) {
    const auto first = std::llround(segment.onset * sfreq(i));
    found.push_back({first, first + segment.n_records * channel(i).samples_per_record});
  }
  return found;
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

void EdfFile::check_scale(std::size_t i) const {
  if (!channel(i).has_scale)
    throw FormatError(path(), "a physical range for channel " + std::to_string(i) + " " + quote(channel(i).label), "none that can be used");
}

// Stored samples [first, last), counted over all records, of channels with one number of samples in a record.
template <class Real>
void EdfFile::read_records(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, Real* into, std::int64_t stride) const {
  if (first >= last || channels.empty()) return;
  const std::int64_t per = channel(channels.front()).samples_per_record, width = header_.sample_bytes();
  const auto convert = [&](const EdfSignal& signal, const unsigned char* from, std::int64_t n, Real* to) {
    if (width == 2) {
      convert_i16(from, n, static_cast<Real>(signal.gain), static_cast<Real>(signal.offset), to);
    } else {
      convert_i24(from, n, static_cast<Real>(signal.gain), static_cast<Real>(signal.offset), to);
    }
  };
  // Only the bytes between the first and the last wanted channel are read, in chunks of whole records.
  std::int64_t low = header_.record_bytes, high = 0;
  for (const auto c : channels) {
    low = std::min(low, channel(c).byte_offset);
    high = std::max(high, channel(c).byte_offset + per * width);
  }
  const bool sparse = (high - low) > 8 * per * width * static_cast<std::int64_t>(channels.size());
  auto& buffer = scratch();
  const std::int64_t records_a_chunk = sparse ? 1 : std::max<std::int64_t>(1, kChunk / header_.record_bytes);
  for (std::int64_t record = first / per, stop = (last - 1) / per + 1; record < stop; record += records_a_chunk) {
    const std::int64_t n = std::min(records_a_chunk, stop - record);
    const std::int64_t base = header_.header_bytes + record * header_.record_bytes;
    const std::int64_t bytes = (n - 1) * header_.record_bytes + high - low;
    if (!sparse) {
      if (static_cast<std::int64_t>(buffer.size()) < bytes) buffer.resize(static_cast<std::size_t>(bytes));
      file_.read(buffer.data(), static_cast<std::size_t>(bytes), static_cast<std::uint64_t>(base + low));
    } else if (static_cast<std::int64_t>(buffer.size()) < per * width) {
      buffer.resize(static_cast<std::size_t>(per * width));
    }
    for (std::int64_t k = 0; k < n; ++k) {
      const std::int64_t record_start = (record + k) * per;
      const std::int64_t from = std::max(first, record_start), to = std::min(last, record_start + per);
      for (std::size_t row = 0; row < channels.size(); ++row) {
        const EdfSignal& signal = channel(channels[row]);
        const unsigned char* source = buffer.data();
        if (sparse) {
          file_.read(buffer.data(), static_cast<std::size_t>((to - from) * width),
                     static_cast<std::uint64_t>(base + signal.byte_offset + (from - record_start) * width));
        } else {
          source += k * header_.record_bytes + signal.byte_offset - low + (from - record_start) * width;
        }
        convert(signal, source, to - from, into + static_cast<std::int64_t>(row) * stride + (from - first));
      }
    }
  }
}

template <class Real>
void EdfFile::read_channel(std::size_t i, std::int64_t start, std::int64_t stop, Real* into) const {
  if (i >= n_channels()) throw ValueError(path() + ": channel " + std::to_string(i) + " of " + std::to_string(n_channels()));
  if (start < 0 || stop < start || stop > n_samples(i))
    throw ValueError(path() + ": samples " + std::to_string(start) + ".." + std::to_string(stop) + " of " + std::to_string(n_samples(i)));
  check_scale(i);
  read_records<Real>({i}, start, stop, into, stop - start);
}
template void EdfFile::read_channel<float>(std::size_t, std::int64_t, std::int64_t, float*) const;
template void EdfFile::read_channel<double>(std::size_t, std::int64_t, std::int64_t, double*) const;

std::int64_t EdfFile::grid_size(std::size_t i) const {
  if (segments_.empty()) return 0;
  return std::llround(segments_.back().onset * sfreq(i)) + segments_.back().n_records * channel(i).samples_per_record;
}

void EdfFile::read_grid(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const {
  if (channels.empty()) throw ValueError(path() + ": no channel to read");
  for (const auto c : channels) {
    if (c >= n_channels()) throw ValueError(path() + ": channel " + std::to_string(c) + " of " + std::to_string(n_channels()));
    if (channel(c).samples_per_record != channel(channels.front()).samples_per_record)
      throw ValueError(path() + ": channels " + quote(channel(channels.front()).label) + " and " + quote(channel(c).label) +
                       " have different sampling rates; read them separately");
    check_scale(c);
  }
  const std::size_t lead = channels.front();
  if (first < 0 || last < first || last > grid_size(lead))
    throw ValueError(path() + ": seconds " + std::to_string(static_cast<double>(first) / sfreq(lead)) + " to " +
                     std::to_string(static_cast<double>(last) / sfreq(lead)) + " asked of a file that spans 0 to " + std::to_string(duration()));
  const std::int64_t length = last - first, per = channel(lead).samples_per_record;
  if (!is_continuous()) std::fill(into, into + length * static_cast<std::int64_t>(channels.size()), std::numeric_limits<float>::quiet_NaN());
  for (const auto& segment : segments_) {
    const std::int64_t begin = std::llround(segment.onset * sfreq(lead)), end = begin + segment.n_records * per;
    const std::int64_t from = std::max(first, begin), to = std::min(last, end);
    if (from >= to) continue;
    const std::int64_t stored = segment.first_record * per + (from - begin);
    read_records<float>(channels, stored, stored + (to - from), into + (from - first), length);
  }
}

}  // namespace sslmed::io
