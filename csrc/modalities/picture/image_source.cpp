#include "modalities/picture/image_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "io/image.h"
#include "transforms/bicubic.h"

namespace sslmed::picture {
namespace {

constexpr std::int64_t kLongest = 16;  // times the shorter side: what is cropped at random is held whole

// The last channel of two or four goes.
void drop_alpha(io::Image& image) {
  if (image.channels % 2 == 1) return;
  const auto kept = image.channels - 1;
  auto to = image.bytes.begin();
  for (auto from = image.bytes.begin(); from != image.bytes.end(); from += image.channels) to = std::copy_n(from, kept, to);
  image.bytes.erase(to, image.bytes.end());
  image.channels = kept;
}

std::vector<std::uint8_t> in_colour(std::vector<std::uint8_t> pixels, std::int64_t channels) {
  if (channels == 3) return pixels;
  std::vector<std::uint8_t> rgb(3 * pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) std::fill_n(rgb.begin() + static_cast<std::ptrdiff_t>(3 * i), 3, pixels[i]);
  return rgb;
}

std::int64_t scaled(std::int64_t side, std::int64_t from, std::int64_t to) {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(side) * static_cast<double>(to) / static_cast<double>(from)));
}

}  // namespace

ImageSource::ImageSource(data::Origins images, const ImageSourceOptions& options, std::map<std::string, std::vector<double>> targets)
    : images_(std::move(images)), options_(options), targets_(std::move(targets)) {
  if (options.size < 1 || options.size > (1 << 14)) throw ValueError("pictures have a side of 1 to 16,384 pixels, got " + std::to_string(options.size));
  const auto n = images_.subject_codes.size();
  if (n == 0) throw ValueError("no images");
  images_.check(n);
  for (const auto& [name, column] : targets_)
    if (column.size() != n)
      throw ValueError("targets: " + quote(name) + " has " + std::to_string(column.size()) + " values, expected one for each of " + std::to_string(n) +
                       " images");
}

data::SampleInfo ImageSource::describe(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("image " + std::to_string(index) + " of " + std::to_string(size()));
  return images_.info(index);
}

std::vector<std::int64_t> ImageSource::first_samples() const {
  std::vector<std::int64_t> first(static_cast<std::size_t>(size()) + 1);
  std::iota(first.begin(), first.end(), 0);
  return first;
}

void ImageSource::tell(const std::string& path, const std::vector<std::string>& found) const {
  for (const auto& text : found) {
    std::string words;
    std::copy_if(text.begin(), text.end(), std::back_inserter(words), [](char c) { return c < '0' || c > '9'; });
    const std::lock_guard lock(told_.mutex);
    told_.found.try_emplace(words, path + ": " + text + " (told once; other files may be alike)");
  }
}

std::vector<std::string> ImageSource::take_warnings() const {
  const std::lock_guard lock(told_.mutex);
  std::vector<std::string> texts;
  for (auto& [words, text] : told_.found)
    if (!text.empty()) texts.push_back(std::exchange(text, {}));
  return texts;
}

data::Sample ImageSource::sample(std::int64_t index, const Draw&) const {
  if (index < 0 || index >= size()) throw ValueError("image " + std::to_string(index) + " of " + std::to_string(size()));
  const auto path = images_.paths.at(index);
  std::vector<std::string> harmless;
  auto image = io::read_image(path, {.side = options_.size, .longer = options_.fit == Fit::kPad, .voi = options_.voi}, harmless);
  if (!harmless.empty()) tell(path, harmless);
  const auto width = image.width, height = image.height, size = options_.size;
  const auto shorter = std::min(width, height), longer = std::max(width, height);
  drop_alpha(image);
  data::Sample sample;
  for (const auto& [name, column] : targets_) sample.targets[name] = column[static_cast<std::size_t>(index)];
  const auto resized = [&](const transforms::Box& box, std::int64_t to_width, std::int64_t to_height) {
    std::vector<std::uint8_t> into(static_cast<std::size_t>(image.channels * to_width * to_height));
    transforms::resize_bicubic(image.bytes.data(), width, height, image.channels, box, to_width, to_height, into.data());
    return in_colour(std::move(into), image.channels);
  };
  const transforms::Box all{0, 0, static_cast<double>(width), static_cast<double>(height)};
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> shape{size, size, 3};
  if (options_.fit == Fit::kPad) {
    const auto w = scaled(width, longer, size), h = scaled(height, longer, size);
    const auto inside = resized(all, w, h);
    pixels.assign(static_cast<std::size_t>(3 * size * size), 0);
    for (std::int64_t y = 0; y < h; ++y) std::copy_n(inside.data() + 3 * y * w, 3 * w, pixels.data() + 3 * ((y + (size - h) / 2) * size + (size - w) / 2));
  } else if (options_.whole) {
    if (longer > kLongest * shorter)
      throw FormatError(path, "an image at most 16 times as long as wide, to be cropped", "one " + std::to_string(longer / shorter) + " times as long");
    const auto w = scaled(width, shorter, size), h = scaled(height, shorter, size);
    shape = {h, w, 3};
    pixels = resized(all, w, h);
  } else {
    const auto side = static_cast<double>(shorter);
    pixels = resized({(all.width - side) / 2, (all.height - side) / 2, side, side}, size, size);
  }
  sample.arrays.push_back({options_.modality, std::move(shape), std::move(pixels), data::GridSpace{{0, 0}, {0, 0}}});
  return sample;
}

}  // namespace sslmed::picture
