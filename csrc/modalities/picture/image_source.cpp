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
#include "transforms/geometry.h"

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

// Label maps must fill their shape.
void check_objects(const FileTargets& own) {
  if (own.shape.size() != 2 || own.shape[0] < 1 || own.shape[1] < 1) throw ValueError("objects: shape must be the rows and columns of the image");
  for (const auto& [name, runs] : own.runs) {
    std::int64_t cells = 0;
    for (std::size_t i = 0; i + 1 < runs.size(); i += 2) cells += std::max(runs[i + 1], 0);
    if (runs.size() % 2 != 0 || cells != own.shape[0] * own.shape[1])
      throw ValueError("objects: runs of " + quote(name) + " fill " + std::to_string(cells) + " pixels, expected " +
                       std::to_string(own.shape[0] * own.shape[1]));
  }
}

}  // namespace

ImageSource::ImageSource(data::Origins images, const ImageSourceOptions& options, std::map<std::string, std::vector<double>> targets)
    : images_(std::move(images)), options_(options), targets_(std::move(targets)) {
  if (options.size < 1 || options.size > (1 << 14)) throw ValueError("pictures have a side of 1 to 16,384 pixels, got " + std::to_string(options.size));
  const auto n = images_.subject_codes.size();
  if (n == 0) throw ValueError("no images");
  images_.check(n);
  if (!options_.labels.empty() && options_.labels.size() != n)
    throw ValueError("labels: has " + std::to_string(options_.labels.size()) + " files, expected one for each of " + std::to_string(n) + " images");
  if (!options_.objects.empty() && options_.objects.size() != n)
    throw ValueError("objects: has " + std::to_string(options_.objects.size()) + " entries, expected one for each of " + std::to_string(n) + " images");
  for (const auto& own : options_.objects) check_objects(own);
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

transforms::Geometry ImageSource::file_geometry(std::int64_t height, std::int64_t width, const std::vector<std::int64_t>& shape) const {
  auto geometry = transforms::Geometry::identity({height, width});
  if (options_.fit == Fit::kPad) {
    const auto longer = std::max(width, height), w = scaled(width, longer, options_.size), h = scaled(height, longer, options_.size);
    const auto top = static_cast<double>((shape[0] - h) / 2), left = static_cast<double>((shape[1] - w) / 2);
    geometry.resize({h, w}).affine({1, 0, 0, 1}, {-top, -left}, {shape[0], shape[1]});
  } else if (options_.whole) {
    geometry.resize({shape[0], shape[1]});
  } else {
    const auto side = static_cast<double>(std::min(width, height)), step = side / static_cast<double>(options_.size);
    geometry.affine({step, 0, 0, step}, {(static_cast<double>(height) - side) / 2, (static_cast<double>(width) - side) / 2}, {shape[0], shape[1]});
  }
  return geometry;
}

void ImageSource::add_objects(data::Sample& sample, std::int64_t index, const std::vector<std::int64_t>& shape) const {
  const auto& own = options_.objects[static_cast<std::size_t>(index)];
  const auto geometry = file_geometry(own.shape[0], own.shape[1], shape);
  auto targets = own.targets;
  for (const auto& [name, runs] : own.runs) {
    data::LabelMap map{own.shape, {}};
    map.classes.reserve(static_cast<std::size_t>(own.shape[0] * own.shape[1]));
    for (std::size_t i = 0; i + 1 < runs.size(); i += 2) map.classes.insert(map.classes.end(), static_cast<std::size_t>(runs[i + 1]), runs[i]);
    targets[name] = std::move(map);
  }
  for (auto& [name, target] : data::moved(targets, geometry)) sample.targets[name] = std::move(target);
}

data::LabelMap ImageSource::label_map(std::int64_t index, const std::vector<std::int64_t>& shape, double aspect) const {
  data::LabelMap out{{shape[0], shape[1]}, std::vector<std::int32_t>(static_cast<std::size_t>(shape[0] * shape[1]), data::kUnlabeled)};
  const auto& path = options_.labels[static_cast<std::size_t>(index)];
  if (path.empty()) return out;
  std::vector<std::string> harmless;
  const auto map = io::read_image(path, {}, harmless);
  if (!harmless.empty()) tell(path, harmless);
  if (map.channels != 1) throw FormatError(path, "a label map of one channel (gray levels are the labels)", std::to_string(map.channels) + " channels");
  const auto own = static_cast<double>(map.width) / static_cast<double>(map.height);
  if (std::abs(own - aspect) > 0.02 * aspect)
    throw FormatError(path, "a label map of its image's aspect ratio " + std::to_string(aspect),
                      std::to_string(map.width) + " x " + std::to_string(map.height));
  const auto geometry = file_geometry(map.height, map.width, shape);
  const std::vector<std::int32_t> values(map.bytes.begin(), map.bytes.end());
  transforms::resample<std::int32_t>(geometry, values.data(), 1, transforms::Interpolation::kNearest, data::kUnlabeled, out.classes.data());
  return out;
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
  if (!options_.objects.empty()) add_objects(sample, index, shape);
  if (!options_.labels.empty()) sample.targets["labels"] = label_map(index, shape, static_cast<double>(width) / static_cast<double>(height));
  sample.arrays.push_back({options_.modality, std::move(shape), std::move(pixels), data::GridSpace{{0, 0}, {0, 0}}});
  return sample;
}

}  // namespace sslmed::picture
