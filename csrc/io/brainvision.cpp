#include "io/brainvision.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::io {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "samples are little-endian and copied as they are");
constexpr std::uint64_t kMostHeader = std::uint64_t{1} << 24;   // bytes of a .vhdr
constexpr std::uint64_t kMostMarkers = std::uint64_t{1} << 28;  // bytes of a .vmrk
constexpr std::int64_t kReadAtOnce = 1 << 20;                   // bytes, unless a frame is larger
constexpr std::int64_t kFrames = 32;                            // whose samples are brought into rows together, so that they stay in the cache

template <class Stored>
SSLMED_INLINE void scale_row(const unsigned char* from, std::int64_t step, std::int64_t n, float gain, float* into) {
  for (std::int64_t k = 0; k < n; ++k) {
    Stored stored;
    std::memcpy(&stored, from + k * step, sizeof stored);
    into[k] = static_cast<float>(stored) * gain;
  }
}

SSLMED_CLONES void scale_contiguous(BrainVisionNumber number, const unsigned char* from, std::int64_t n, float gain, float* into) {
  switch (number) {
    case BrainVisionNumber::kInt16:
      return scale_row<std::int16_t>(from, 2, n, gain, into);
    case BrainVisionNumber::kUint16:
      return scale_row<std::uint16_t>(from, 2, n, gain, into);
    case BrainVisionNumber::kInt32:
      return scale_row<std::int32_t>(from, 4, n, gain, into);
    case BrainVisionNumber::kFloat32:
      return scale_row<float>(from, 4, n, gain, into);
  }
}

// Frames in the order of the file as floats, each channel by its gain.
template <class Stored>
SSLMED_INLINE void scale_frames(const unsigned char* from, std::int64_t frames, std::int64_t channels, const float* gains, float* into) {
  for (std::int64_t k = 0; k < frames; ++k, from += channels * static_cast<std::int64_t>(sizeof(Stored)), into += channels)
    for (std::int64_t c = 0; c < channels; ++c) {
      Stored stored;
      std::memcpy(&stored, from + c * static_cast<std::int64_t>(sizeof(Stored)), sizeof stored);
      into[c] = static_cast<float>(stored) * gains[c];
    }
}

SSLMED_CLONES void convert_frames(BrainVisionNumber number, const unsigned char* from, std::int64_t frames, std::int64_t channels, const float* gains,
                                  float* into) {
  switch (number) {
    case BrainVisionNumber::kInt16:
      return scale_frames<std::int16_t>(from, frames, channels, gains, into);
    case BrainVisionNumber::kUint16:
      return scale_frames<std::uint16_t>(from, frames, channels, gains, into);
    case BrainVisionNumber::kInt32:
      return scale_frames<std::int32_t>(from, frames, channels, gains, into);
    case BrainVisionNumber::kFloat32:
      return scale_frames<float>(from, frames, channels, gains, into);
  }
}

// Four columns of frames of `width` floats into four rows `length` apart.
void four_rows(const float* from, std::int64_t width, std::int64_t frames, std::int64_t length, float* into) {
  typedef float Four __attribute__((vector_size(16)));
  std::int64_t k = 0;
  for (; k + 4 <= frames; k += 4) {
    Four f[4];
    for (int j = 0; j < 4; ++j) std::memcpy(&f[j], from + (k + j) * width, sizeof(Four));
    const Four low01 = __builtin_shufflevector(f[0], f[1], 0, 4, 1, 5), high01 = __builtin_shufflevector(f[0], f[1], 2, 6, 3, 7);
    const Four low23 = __builtin_shufflevector(f[2], f[3], 0, 4, 1, 5), high23 = __builtin_shufflevector(f[2], f[3], 2, 6, 3, 7);
    const Four rows[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5), __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                          __builtin_shufflevector(high01, high23, 0, 1, 4, 5), __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
    for (int j = 0; j < 4; ++j) std::memcpy(into + j * length + k, &rows[j], sizeof(Four));
  }
  for (; k < frames; ++k)
    for (int j = 0; j < 4; ++j) into[j * length + k] = from[k * width + j];
}

// Columns of floats into rows; four at once where they are neighbors.
void rows_of(const std::vector<std::size_t>& channels, const float* frames, std::int64_t width, std::int64_t n, std::int64_t length, float* into) {
  for (std::size_t row = 0; row < channels.size();) {
    const std::size_t c = channels[row];
    float* to = into + static_cast<std::int64_t>(row) * length;
    if (row + 4 <= channels.size() && channels[row + 1] == c + 1 && channels[row + 2] == c + 2 && channels[row + 3] == c + 3) {
      four_rows(frames + c, width, n, length, to);
      row += 4;
    } else {
      for (std::int64_t k = 0; k < n; ++k) to[k] = frames[k * width + static_cast<std::int64_t>(c)];
      ++row;
    }
  }
}

// One column of `n` frames, `step` bytes apart.
void scale_column(BrainVisionNumber number, const unsigned char* from, std::int64_t step, std::int64_t n, float gain, float* into) {
  switch (number) {
    case BrainVisionNumber::kInt16:
      return scale_row<std::int16_t>(from, step, n, gain, into);
    case BrainVisionNumber::kUint16:
      return scale_row<std::uint16_t>(from, step, n, gain, into);
    case BrainVisionNumber::kInt32:
      return scale_row<std::int32_t>(from, step, n, gain, into);
    case BrainVisionNumber::kFloat32:
      return scale_row<float>(from, step, n, gain, into);
  }
}

std::vector<unsigned char>& frame_buffer(std::int64_t bytes) {
  thread_local std::vector<unsigned char> buffer;
  if (static_cast<std::int64_t>(buffer.size()) < bytes) buffer.resize(static_cast<std::size_t>(bytes));
  return buffer;
}

std::string whole_text(const File& file, std::uint64_t most, const char* what) {
  if (file.size() > most) throw FormatError(file.path(), std::string(what) + " of at most " + std::to_string(most) + " bytes", std::to_string(file.size()));
  std::string text(file.size(), '\0');
  file.read(text.data(), text.size(), 0);
  return text;
}

std::string text_of_header(const std::string& path) { return whole_text(File(path), kMostHeader, "a header of BrainVision"); }

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

// The file that a header names, beside it; or one with the header's stem where there is no such file. Empty: neither.
std::string companion(const std::string& header, const std::string& named, const std::vector<const char*>& endings, const char* what,
                      std::vector<std::string>& warnings) {
  const auto folder = std::filesystem::path(header).parent_path();
  std::string beside;
  for (const char* ending : endings)
    if (auto candidate = std::filesystem::path(header).replace_extension(ending); beside.empty() && is_file(candidate)) beside = candidate.string();
  for (const auto& candidate : {folder / named, folder / std::filesystem::path(named).filename()}) {
    if (named.empty() || !is_file(candidate)) continue;
    std::error_code ignored;
    if (!beside.empty() && !std::filesystem::equivalent(candidate, beside, ignored))
      warnings.push_back(header + ": its " + what + " is " + candidate.filename().string() + ", as it says, though there is " +
                         std::filesystem::path(beside).filename().string() + " of its own name; if they were renamed, correct the header");
    return candidate.string();
  }
  if (!beside.empty() && !named.empty())
    warnings.push_back(header + ": names " + quote(named) + " as its " + what + ", which is not there; " + std::filesystem::path(beside).filename().string() +
                       " of its own name is read");
  return beside;
}

std::string companion_data(const std::string& header, const std::string& named, std::vector<std::string>& warnings) {
  const auto found = companion(header, named, {".eeg", ".EEG", ".dat", ".DAT", ".avg"}, "data file", warnings);
  if (!found.empty()) return found;
  throw ReadError(header, "expected its data file " + quote(named) + " or one with its own name and .eeg beside it, found neither");
}

std::string companion_markers(const std::string& header, const std::string& named, std::vector<std::string>& warnings) {
  const auto found = companion(header, named, {".vmrk", ".VMRK"}, "marker file", warnings);
  if (found.empty() && !named.empty()) warnings.push_back(header + ": its marker file " + quote(named) + " is not there; read without annotations");
  return found;
}

BrainVisionHeader header_of(const std::string& path, std::vector<std::string>& warnings) {
  return parse_brainvision_header(path, text_of_header(path), warnings);
}

}  // namespace

BrainVisionFile::BrainVisionFile(const std::string& header_path)
    : path_(header_path), header_(header_of(header_path, warnings_)), data_(companion_data(header_path, header_.data_file, warnings_)) {
  count_samples();
  read_markers(companion_markers(header_path, header_.marker_file, warnings_));
}

BrainVisionFile::BrainVisionFile(const std::string& header_path, const std::string& data_path, const std::string& marker_path)
    : path_(header_path), header_(header_of(header_path, warnings_)), data_(data_path) {
  count_samples();
  read_markers(marker_path);
}

void BrainVisionFile::count_samples() {
  const std::int64_t frame = header_.sample_bytes() * static_cast<std::int64_t>(n_channels());
  const auto size = static_cast<std::int64_t>(data_.size());
  samples_ = size / frame;
  for (const auto& channel : header_.channels) gains_.push_back(static_cast<float>(channel.resolution));
  const std::string found = data_.path() + " has " + std::to_string(size) + " bytes, which are " + std::to_string(samples_) + " samples of " +
                            std::to_string(n_channels()) + " channels";
  if (header_.vectorized) {
    // Where a channel starts depends on how long the one before it is: a cut file cannot be salvaged.
    if (size % frame != 0 || (header_.samples && *header_.samples != samples_))
      throw FormatError(path_,
                        (header_.samples ? std::to_string(*header_.samples) : std::string("a whole number of")) + " samples a channel, one after the other",
                        found + " and " + std::to_string(size % frame) + " bytes");
    return;
  }
  if (header_.samples && *header_.samples > samples_ && samples_ == 0)
    throw FormatError(path_, std::to_string(*header_.samples) + " samples of each channel", found);
  if (header_.samples && *header_.samples != samples_)
    warnings_.push_back(path_ + ": says DataPoints=" + std::to_string(*header_.samples) + ", but " + found + "; those that are there are read");
  if (size % frame != 0) warnings_.push_back(path_ + ": cut short: " + found + " and " + std::to_string(size % frame) + " bytes; whole samples are read");
}

void BrainVisionFile::read_markers(const std::string& marker_path) {
  if (marker_path.empty()) return;
  try {
    markers_ = parse_brainvision_markers(marker_path, whole_text(File(marker_path), kMostMarkers, "a marker file"), header_.sfreq);
  } catch (const FormatError& error) {
    warnings_.push_back(std::string(error.what()) + "; read without annotations");
  }
}

std::vector<Stretch> BrainVisionFile::stretches(std::size_t /*i*/) const { return samples_ > 0 ? std::vector<Stretch>{{0, samples_}} : std::vector<Stretch>{}; }

std::vector<Annotation> BrainVisionFile::annotations(std::vector<std::string>& notes) const {
  if (markers_.malformed > 0)
    notes.push_back(path_ + ": " + std::to_string(markers_.malformed) + " markers without a position are left out; " +
                    std::to_string(markers_.annotations.size()) + " are read");
  return markers_.annotations;
}

void BrainVisionFile::read_multiplexed(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const {
  const std::int64_t width = header_.sample_bytes(), frame = width * static_cast<std::int64_t>(n_channels()), length = last - first;
  const std::int64_t at_once = std::max<std::int64_t>(1, kReadAtOnce / frame);
  auto& buffer = frame_buffer(std::min(at_once, length) * frame);
  // Of few channels among many only those are converted.
  const bool most = channels.size() * 4 >= n_channels();
  const auto width_in_floats = static_cast<std::int64_t>(n_channels());
  thread_local std::vector<float> converted;
  if (most) converted.resize(static_cast<std::size_t>(kFrames * width_in_floats));
  for (std::int64_t start = first; start < last; start += at_once) {
    const std::int64_t n = std::min(at_once, last - start);
    data_.read(buffer.data(), static_cast<std::size_t>(n * frame), static_cast<std::uint64_t>(start * frame));
    for (std::int64_t block = 0; block < n; block += kFrames) {
      const std::int64_t frames = std::min(kFrames, n - block);
      float* to = into + (start - first) + block;
      if (most) {
        convert_frames(header_.number, buffer.data() + block * frame, frames, width_in_floats, gains_.data(), converted.data());
        rows_of(channels, converted.data(), width_in_floats, frames, length, to);
        continue;
      }
      for (std::size_t row = 0; row < channels.size(); ++row)
        scale_column(header_.number, buffer.data() + block * frame + static_cast<std::int64_t>(channels[row]) * width, frame, frames, gains_[channels[row]],
                     to + static_cast<std::int64_t>(row) * length);
    }
  }
}

void BrainVisionFile::read_grid(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const {
  if (channels.empty()) throw ValueError(path_ + ": no channel to read");
  for (const auto c : channels) {
    if (c >= n_channels()) throw ValueError(path_ + ": channel " + std::to_string(c) + " of " + std::to_string(n_channels()));
    if (!has_scale(c)) throw FormatError(path_, "a resolution for channel " + quote(label(c)), "0");
  }
  if (first < 0 || last < first || last > samples_)
    throw ValueError(path_ + ": samples " + std::to_string(first) + ".." + std::to_string(last) + " of " + std::to_string(samples_));
  if (first == last) return;
  if (!header_.vectorized) return read_multiplexed(channels, first, last, into);
  const std::int64_t width = header_.sample_bytes(), length = last - first;
  auto& buffer = frame_buffer(std::min(length * width, kReadAtOnce));
  for (const auto c : channels) {
    const auto gain = gains_[c];
    for (std::int64_t start = first; start < last; start += kReadAtOnce / width) {
      const std::int64_t n = std::min(kReadAtOnce / width, last - start);
      const std::int64_t at = (static_cast<std::int64_t>(c) * samples_ + start) * width;
      data_.read(buffer.data(), static_cast<std::size_t>(n * width), static_cast<std::uint64_t>(at));
      scale_contiguous(header_.number, buffer.data(), n, gain, into);
      into += n;
    }
  }
}

}  // namespace sslmed::io
