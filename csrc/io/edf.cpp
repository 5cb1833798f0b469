#include "io/edf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::io {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "samples are little-endian and copied as they are");

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

// The record buffer of a thread, kept between reads; bounded by kChunk unless one record is larger.
std::vector<unsigned char>& scratch() {
  thread_local std::vector<unsigned char> buffer;
  return buffer;
}
constexpr std::int64_t kChunk = 1 << 20;

}  // namespace

EdfFile::EdfFile(const std::string& path) : file_(path), header_(read_edf_header(file_, warnings_)) {
  for (std::size_t i = 0; i < header_.signals.size(); ++i) (header_.signals[i].is_annotation ? annotations_ : channels_).push_back(i);
  find_segments();
}

std::string EdfFile::annotation_bytes(std::int64_t record, const EdfSignal& signal) const {
  std::string bytes(static_cast<std::size_t>(signal.samples_per_record * header_.sample_bytes()), '\0');
  file_.read(bytes.data(), bytes.size(), static_cast<std::uint64_t>(header_.header_bytes + record * header_.record_bytes + signal.byte_offset));
  return bytes;
}

double EdfFile::sfreq(std::size_t i) const { return static_cast<double>(channel(i).samples_per_record) / header_.record_duration; }
std::int64_t EdfFile::n_samples(std::size_t i) const { return channel(i).samples_per_record * header_.n_records; }

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
