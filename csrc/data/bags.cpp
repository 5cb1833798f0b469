#include "data/bags.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "io/safetensors.h"

namespace sslmed::data {
namespace {

constexpr std::int64_t kGap = 3;                        // empty cells between two slides of a bag
constexpr std::int64_t kCells = std::int64_t{1} << 27;  // of a bag's grid: more than any glass slide has
constexpr double kSpread = 1e9;                         // pixels

struct FileOfRows {
  std::string path, code;
  std::int64_t rows = 0, width = 0;
  double mpp = 0, tile = 0, step = 0;
  std::vector<std::int64_t> coords;  // [rows, 2]
};

const io::TensorEntry& tensor_of(const io::SafetensorsFile& file, const std::string& path, const std::string& name) {
  for (const auto& entry : file.entries())
    if (entry.name == name) return entry;
  throw FormatError(path, "a tensor '" + name + "'", "none of that name");
}

double number_of(const io::SafetensorsFile& file, const std::string& path, const std::string& name) {
  const auto found = file.metadata().find(name);
  if (found == file.metadata().end()) throw FormatError(path, "metadata '" + name + "'", "none of that name");
  char* end = nullptr;
  const double value = std::strtod(found->second.c_str(), &end);
  if (end == found->second.c_str() || *end != '\0' || !(value > 0) || !std::isfinite(value))
    throw FormatError(path, "metadata '" + name + "' as a positive number", quote(found->second));
  return value;
}

std::string shape_text(const io::TensorEntry& entry) {
  std::string out = entry.code + " [";
  for (std::size_t i = 0; i < entry.shape.size(); ++i) out += (i > 0 ? ", " : "") + std::to_string(entry.shape[i]);
  return out + "]";
}

// All of a file but its features.
FileOfRows look(const io::SafetensorsFile& file, const std::string& path) {
  FileOfRows out;
  out.path = path;
  const auto& features = tensor_of(file, path, "features");
  if (features.shape.size() != 2 || features.shape[1] < 1 || (features.code != "F16" && features.code != "F32"))
    throw FormatError(path, "features F16 or F32 [N, D]", shape_text(features));
  out.code = features.code;
  out.rows = features.shape[0];
  out.width = features.shape[1];
  const auto& coords = tensor_of(file, path, "coords");
  if (coords.code != "I64" || coords.shape != std::vector<std::int64_t>{out.rows, 2})
    throw FormatError(path, "coords I64 [" + std::to_string(out.rows) + ", 2]", shape_text(coords));
  if (out.rows < 1) throw FormatError(path, "at least one row of features", "none; leave the slide out");
  out.coords.resize(static_cast<std::size_t>(2 * out.rows));
  file.read(coords, out.coords.data());
  out.mpp = number_of(file, path, "mpp");
  out.tile = number_of(file, path, "tile");
  out.step = number_of(file, path, "step");
  for (const auto at : out.coords)
    if (std::abs(static_cast<double>(at)) > kSpread) throw FormatError(path, "coords within a slide", std::to_string(at) + " pixels");
  return out;
}

struct Placed {
  std::vector<std::array<float, 3>> positions;  // mm
  std::vector<float> cells;                     // [N, 2]
  std::int64_t next_row = 0;                    // of the grid, for the next slide
  double next_mm = 0;
};

// Where the rows of one more file are.
void place(const FileOfRows& file, Placed& out) {
  auto left = std::numeric_limits<std::int64_t>::max(), top = left;
  for (std::int64_t i = 0; i < file.rows; ++i) {
    left = std::min(left, file.coords[static_cast<std::size_t>(2 * i)]);
    top = std::min(top, file.coords[static_cast<std::size_t>(2 * i + 1)]);
  }
  const double mm = file.mpp / 1000;
  std::int64_t lowest = 0, right = 0;
  for (std::int64_t i = 0; i < file.rows; ++i) {
    const auto x = static_cast<double>(file.coords[static_cast<std::size_t>(2 * i)] - left);
    const auto y = static_cast<double>(file.coords[static_cast<std::size_t>(2 * i + 1)] - top);
    const auto row = std::llround(y / file.step), column = std::llround(x / file.step);
    lowest = std::max<std::int64_t>(lowest, row);
    right = std::max<std::int64_t>(right, column);
    out.positions.push_back({static_cast<float>((x + file.tile / 2) * mm), static_cast<float>((y + file.tile / 2) * mm + out.next_mm), 0.0F});
    out.cells.push_back(static_cast<float>(out.next_row + row));
    out.cells.push_back(static_cast<float>(column));
  }
  out.next_row += lowest + 1 + kGap;
  out.next_mm += static_cast<double>(lowest + 1 + kGap) * file.step * mm;
  if (out.next_row * (right + 1) > kCells)
    throw FormatError(file.path, "coords of tiles " + std::to_string(file.step) + " pixels apart",
                      "a grid of " + std::to_string(out.next_row) + " x " + std::to_string(right + 1) + " cells");
}

// The rows that stay, ascending.
std::vector<std::int64_t> chosen(std::int64_t n, std::int64_t most, const Draw& draw) {
  const Shuffle order(static_cast<std::uint64_t>(n), draw, Stream::kSubset);
  std::vector<std::int64_t> out(static_cast<std::size_t>(most));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int64_t>(order(i));
  std::sort(out.begin(), out.end());
  return out;
}

// Values [rows, width of T] of the rows that stay.
template <class T>
std::vector<T> kept(const std::vector<T>& all, const std::vector<std::int64_t>& rows, std::int64_t width) {
  std::vector<T> out;
  out.reserve(rows.size() * static_cast<std::size_t>(width));
  for (const auto row : rows) out.insert(out.end(), all.begin() + row * width, all.begin() + (row + 1) * width);
  return out;
}

}  // namespace

BagSource::BagSource(std::vector<BagEntry> entries, const BagOptions& options) : entries_(std::move(entries)), options_(options) {
  if (entries_.empty()) throw ValueError("BagSource: entries must hold at least one bag");
  require(options.max_rows >= 0, "max_rows", options.max_rows, "must not be negative (0: all rows of a bag)");
  for (const auto& entry : entries_)
    if (entry.files.empty()) throw ValueError("BagSource: bag " + quote(entry.name) + " has no files");
}

const BagEntry& BagSource::entry(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("bag " + std::to_string(index) + " of " + std::to_string(size()));
  return entries_[static_cast<std::size_t>(index)];
}

SampleInfo BagSource::describe(std::int64_t index) const {
  const auto& from = entry(index);
  return {from.subject, from.site, from.files.front(), index, {}};
}

std::vector<std::int64_t> BagSource::first_samples() const {
  std::vector<std::int64_t> first(entries_.size() + 1);
  std::iota(first.begin(), first.end(), 0);
  return first;
}

Sample BagSource::sample(std::int64_t index, const Draw& draw) const {
  const auto& from = entry(index);
  std::vector<io::SafetensorsFile> files;
  std::vector<FileOfRows> parts;
  Placed placed;
  std::int64_t rows = 0;
  for (const auto& path : from.files) {
    files.emplace_back(path);
    parts.push_back(look(files.back(), path));
    const auto& part = parts.back();
    if (part.width != parts.front().width || part.code != parts.front().code)
      throw FormatError(path, parts.front().code + " features of width " + std::to_string(parts.front().width) + ", as " + quote(parts.front().path) + " has",
                        part.code + " of width " + std::to_string(part.width));
    place(part, placed);
    rows += part.rows;
  }
  const bool half = parts.front().code == "F16";
  const auto bytes = parts.front().width * (half ? 2 : 4);  // of a row
  const auto width = half ? bytes : parts.front().width;
  Values values;
  if (half) {
    values = std::vector<std::uint8_t>(static_cast<std::size_t>(rows * bytes));
  } else {
    values = std::vector<float>(static_cast<std::size_t>(rows * width));
  }
  auto* to = std::visit([](auto& all) { return reinterpret_cast<char*>(all.data()); }, values);
  for (std::size_t f = 0; f < files.size(); ++f) {
    files[f].read(tensor_of(files[f], from.files[f], "features"), to);
    to += parts[f].rows * bytes;
  }
  if (options_.max_rows > 0 && rows > options_.max_rows) {
    const auto stay = chosen(rows, options_.max_rows, draw);
    values = std::visit([&](const auto& all) -> Values { return kept(all, stay, width); }, values);
    placed.cells = kept(placed.cells, stay, 2);
    placed.positions = kept(placed.positions, stay, 1);
    rows = options_.max_rows;
  }
  Sample sample;
  sample.arrays.push_back({kBagModality, {rows, width}, std::move(values), ChannelSpace{0, std::move(placed.positions), {}}, "rows"});
  sample.arrays.push_back({kBagModality, {rows, 2}, std::move(placed.cells), GridSpace{}, "cells"});
  sample.targets = from.targets;
  return sample;
}

std::vector<View> BagRecipe::make(Sample sample, const Draw&) const {
  if (sample.arrays.size() != 2 || sample.arrays[0].shape.size() != 2 || sample.arrays[1].name != "cells")
    throw ValueError("BagRecipe: needs a sample of rows and their cells, as BagSource gives them");
  auto& rows = sample.arrays[0];
  const auto* space = std::get_if<ChannelSpace>(&rows.space);
  const auto* cells = std::get_if<std::vector<float>>(&sample.arrays[1].values);
  if (space == nullptr || cells == nullptr || cells->size() != 2 * space->positions.size())
    throw ValueError("BagRecipe: needs a place and a cell for each row");
  Patches out;
  out.key = {kBagModality, {1, 1}, rows.shape[1]};
  out.count = rows.shape[0];
  out.extent = {1, 1};
  std::visit([&](auto& all) { out.values = std::move(all); }, rows.values);
  for (const auto& at : space->positions) out.coords.insert(out.coords.end(), {at[0], at[1], at[2], 0.0F});
  for (std::size_t i = 0; i < cells->size(); ++i) {
    const auto cell = static_cast<std::int32_t>((*cells)[i]);
    out.grid.push_back(cell);
    out.extent[i % 2] = std::max(out.extent[i % 2], cell + 1);
  }
  std::vector<View> views(1);
  views[0].role = "bag";
  views[0].content = std::move(out);
  return views;
}

}  // namespace sslmed::data
