#include "modalities/volume/prepare.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "io/json.h"
#include "transforms/foreground.h"
#include "transforms/orientation.h"
#include "transforms/volume_resample.h"

namespace sslmed::volume {
namespace {

using io::Extent3;
using io::Volume3;
using transforms::Affine3;

constexpr std::array<std::pair<const char*, Crop>, 2> kCrops{{{"foreground", Crop::kForeground}, {"none", Crop::kNone}}};
constexpr double kAligned = 1e-2;  // cells by which grids may differ over a volume and still count as parallel
constexpr std::int64_t kMaxSide = 1 << 12;

std::string decimal(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <class Numbers>
std::string decimals(const Numbers& numbers) {
  std::string out = "[";
  for (const auto value : numbers) out += (out.size() > 1 ? ", " : "") + decimal(static_cast<double>(value));
  return out + "]";
}

std::int64_t cells_of(const Extent3& shape) { return shape[0] * shape[1] * shape[2]; }

// A volume with its axes to the right, to the front and up; Z runs fastest.
struct Upright {
  Extent3 shape;
  std::array<double, 3> spacing;
  Affine3 affine;
  std::vector<float> values;
  std::string orientation;  // of the file
};

Upright upright(const std::string& name, const Volume3& volume) {
  Upright out;
  for (const auto value : volume.values)
    if (std::isinf(value)) throw FormatError(name, "finite values", "infinity");
  transforms::Orientation orientation;
  try {
    orientation = transforms::closest_canonical(volume.affine);
  } catch (const ValueError& error) {
    throw FormatError(name, "an affine whose axes span space", error.what());
  }
  out.orientation = orientation.text();
  out.affine = transforms::reoriented(volume.affine, volume.shape, orientation);
  for (std::size_t a = 0; a < 3; ++a) {
    out.shape[a] = volume.shape[orientation.axis[a]];
    double norm = 0;
    for (std::size_t i = 0; i < 3; ++i) norm += out.affine[4 * i + a] * out.affine[4 * i + a];
    out.spacing[a] = std::sqrt(norm);
  }
  out.values = transforms::reorient(volume.values, volume.shape, orientation);
  // Several packages write NaN outside of the head: nothing is there, which the lowest value says too.
  float low = std::numeric_limits<float>::infinity();
  for (const auto value : out.values) low = value < low ? value : low;
  if (std::isinf(low)) throw FormatError(name, "a volume with values", "NaN alone");
  for (auto& value : out.values) value = std::isnan(value) ? low : value;
  return out;
}

struct Grid {
  Extent3 shape;
  std::array<double, 3> spacing;
  Affine3 affine;
};

// The grid of the wanted spacing over the reference's field of view.
Grid target_grid(const std::string& name, const Upright& reference, const std::array<double, 3>& spacing) {
  Grid out;
  std::array<double, 3> step;
  for (std::size_t a = 0; a < 3; ++a) {
    out.spacing[a] = spacing[a] > 0 ? spacing[a] : reference.spacing[a];
    step[a] = out.spacing[a] / reference.spacing[a];
    out.shape[a] = std::max<std::int64_t>(1, std::llround(static_cast<double>(reference.shape[a]) / step[a]));
    if (out.shape[a] > kMaxSide)
      throw FormatError(name, "at most 4,096 cells of " + decimal(out.spacing[a]) + " mm along an axis", std::to_string(out.shape[a]));
  }
  Affine3 map{};
  map[15] = 1;
  for (std::size_t a = 0; a < 3; ++a) {
    map[4 * a + a] = step[a];
    // The middles of both fields of view lie in one place.
    map[4 * a + 3] = 0.5 * (static_cast<double>(reference.shape[a]) - 1 - step[a] * (static_cast<double>(out.shape[a]) - 1));
  }
  out.affine = transforms::product(reference.affine, map);
  return out;
}

// Cell of a volume for a cell of the grid; the grids are parallel where off-diagonal entries move nothing.
bool parallel(const Affine3& map, const Extent3& shape) {
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      if (i == j ? !(map[4 * i + j] > 0) : std::abs(map[4 * i + j]) * static_cast<double>(shape[j]) > kAligned) return false;
  return true;
}

std::vector<float> on_grid(const Upright& volume, const Grid& grid, bool nearest) {
  const auto map = transforms::product(transforms::inverse(volume.affine), grid.affine);
  std::vector<float> out(static_cast<std::size_t>(cells_of(grid.shape)));
  if (parallel(map, grid.shape)) {
    transforms::ResampleGrid axes{volume.shape, grid.shape, volume.spacing, {}, {}};
    for (std::size_t a = 0; a < 3; ++a) {
      const double step = map[4 * a + a];
      axes.to_spacing[a] = step * volume.spacing[a];
      axes.offset[a] = (map[4 * a + 3] + 0.5 - 0.5 * step) * volume.spacing[a];
    }
    if (nearest) {
      transforms::resample_nearest(axes, volume.values.data(), out.data());
    } else {
      transforms::resample_linear(axes, volume.values.data(), /*antialias=*/true, out.data());
    }
    return out;
  }
  if (nearest) {
    transforms::sample_nearest(volume.values.data(), volume.shape, map, grid.shape, out.data());
  } else {
    transforms::sample_linear(volume.values.data(), volume.shape, map, grid.shape, out.data());
  }
  return out;
}

struct Box {
  Extent3 first{}, shape{};
};

Box box_of(const std::vector<std::uint8_t>& mask, const Grid& grid, const PreparationOptions& options) {
  if (options.crop == Crop::kNone) return {{0, 0, 0}, grid.shape};
  Extent3 low = grid.shape, high{-1, -1, -1};
  std::size_t i = 0;
  for (std::int64_t x = 0; x < grid.shape[0]; ++x)
    for (std::int64_t y = 0; y < grid.shape[1]; ++y)
      for (std::int64_t z = 0; z < grid.shape[2]; ++z, ++i) {
        if (mask[i] == 0) continue;
        const Extent3 at{x, y, z};
        for (std::size_t a = 0; a < 3; ++a) low[a] = std::min(low[a], at[a]), high[a] = std::max(high[a], at[a]);
      }
  Box box;
  for (std::size_t a = 0; a < 3; ++a) {
    const auto margin = static_cast<std::int64_t>(std::ceil(options.margin / grid.spacing[a] - 1e-9));
    box.first[a] = std::max<std::int64_t>(0, low[a] - margin);
    box.shape[a] = std::min(grid.shape[a], high[a] + margin + 1) - box.first[a];
  }
  return box;
}

template <class T>
std::vector<T> cropped(const std::vector<T>& values, const Extent3& shape, const Box& box) {
  std::vector<T> out;
  out.reserve(static_cast<std::size_t>(cells_of(box.shape)));
  for (std::int64_t x = 0; x < box.shape[0]; ++x)
    for (std::int64_t y = 0; y < box.shape[1]; ++y) {
      const auto row = ((box.first[0] + x) * shape[1] + box.first[1] + y) * shape[2] + box.first[2];
      out.insert(out.end(), values.begin() + row, values.begin() + row + box.shape[2]);
    }
  return out;
}

std::vector<std::uint8_t> above_half(const std::vector<float>& values) {
  std::vector<std::uint8_t> out(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = values[i] >= 0.5f ? 1 : 0;
  return out;
}

Volume3 binary(const Volume3& volume) {
  auto out = volume;
  for (auto& value : out.values) value = value > 0 ? 1.0f : 0.0f;
  return out;
}

// A percentile between its two neighbours, as NumPy has it.
double percentile(std::vector<float>& values, double percent) {
  const double place = percent / 100 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(low), values.end());
  const double a = values[low];
  if (low + 1 >= values.size()) return a;
  const double b = *std::min_element(values.begin() + static_cast<std::ptrdiff_t>(low) + 1, values.end());
  return a + (b - a) * (place - static_cast<double>(low));
}

struct Scale {
  double low, high, mean, deviation;  // of the file's values within the mask
};

Scale scale_of(const std::string& name, const std::vector<float>& values, const std::vector<std::uint8_t>& mask, const PreparationOptions& options) {
  std::vector<float> inside;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (mask[i] != 0) inside.push_back(values[i]);
  if (inside.empty()) throw FormatError(name, "a foreground", "none: no cell lies within the mask");
  Scale out{};
  out.low = percentile(inside, options.clip[0]);
  out.high = percentile(inside, options.clip[1]);
  double sum = 0, squares = 0;
  for (const auto value : inside) sum += std::clamp<double>(value, out.low, out.high);
  const auto n = static_cast<double>(inside.size());
  out.mean = sum / n;
  for (const auto value : inside) squares += std::pow(std::clamp<double>(value, out.low, out.high) - out.mean, 2);
  out.deviation = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
  if (!(out.high > out.low) || !(out.deviation > 0))
    throw FormatError(name, "values that differ within the mask", "the value " + decimal(out.low) + " between both percentiles");
  return out;
}

// Values as codes between both percentiles; cells outside of the mask get the lowest one.
io::StoreChannel coded(const std::string& name, const std::vector<float>& values, const std::vector<std::uint8_t>& mask, const Scale& scale,
                       const PreparationOptions& options) {
  const bool zscore = options.normalize == Normalize::kZscore, wide = options.storage == Storage::kInt16;
  const double steps = wide ? 65534 : 255, first = wide ? -32767 : 0, step = (scale.high - scale.low) / steps;
  io::StoreChannel out{name, {}, zscore ? step / scale.deviation : step, 0, 0};
  const double low = zscore ? (scale.low - scale.mean) / scale.deviation : scale.low;
  out.offset = low - out.scale * first;
  out.outside = low;
  const auto fill = [&](auto codes) {
    using Code = typename decltype(codes)::value_type;
    codes.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double code = mask[i] != 0 ? std::nearbyint((std::clamp<double>(values[i], scale.low, scale.high) - scale.low) / step) : 0;
      codes[i] = static_cast<Code>(code + first);
    }
    out.codes = std::move(codes);
  };
  wide ? fill(std::vector<std::int16_t>()) : fill(std::vector<std::uint8_t>());
  return out;
}

io::StoreChannel classes_of(const std::string& name, const std::vector<float>& values) {
  std::vector<std::int16_t> codes(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] >= 0 && values[i] <= 32767) || values[i] != std::floor(values[i]))
      throw FormatError(name, "labels that are whole numbers from 0 to 32,767", decimal(values[i]));
    codes[i] = static_cast<std::int16_t>(values[i]);
  }
  return {"labels", std::move(codes), 1, 0, 0};
}

std::string facts_of(const Upright& volume, const Scale& scale) {
  return "{\"orientation\": " + io::json_quote(volume.orientation) + ", \"shape\": " + decimals(volume.shape) + ", \"spacing\": " + decimals(volume.spacing) +
         ", \"low\": " + decimal(scale.low) + ", \"high\": " + decimal(scale.high) + ", \"mean\": " + decimal(scale.mean) +
         ", \"std\": " + decimal(scale.deviation) + "}";
}

}  // namespace

void check(const PreparationOptions& options) {
  const std::string where = "prepare: ";
  for (const auto step : options.spacing)
    if (!(step >= 0 && step <= 100)) throw ValueError(where + "spacing=" + decimal(step) + " mm must be positive, or 0 for the file's own");
  if (!(options.margin >= 0 && options.margin <= 1000)) throw ValueError(where + "margin=" + decimal(options.margin) + " mm must not be negative");
  const auto [low, high] = options.clip;
  if (!(low >= 0 && low < high && high <= 100)) throw ValueError(where + "clip=" + decimals(options.clip) + " must be two percentiles, the lower one first");
}

std::string text_of(const PreparationOptions& options) {
  const auto* crop = std::find_if(kCrops.begin(), kCrops.end(), [&](const auto& known) { return known.second == options.crop; });
  return "{\"spacing\": " + decimals(options.spacing) + ", \"crop\": \"" + crop->first + "\", \"margin\": " + decimal(options.margin) +
         ", \"clip\": " + decimals(options.clip) + ", \"normalize\": \"" + (options.normalize == Normalize::kZscore ? "zscore" : "none") +
         "\", \"storage\": \"" + (options.storage == Storage::kInt16 ? "int16" : "uint8") + "\"}";
}

io::StoreVolume prepare(const std::string& name, const Session& session, const PreparationOptions& options) {
  check(options);
  if (session.sequences.empty()) throw ValueError(name + ": prepare: needs at least one sequence");
  const auto reference = upright(name, session.sequences.front().second);
  const auto grid = target_grid(name, reference, options.spacing);
  const auto mask_given = session.mask.has_value();
  std::vector<std::uint8_t> mask;
  if (mask_given) {
    mask = above_half(on_grid(upright(name + ": mask", binary(*session.mask)), grid, false));
  } else {
    auto found = reference;
    const auto cells = transforms::foreground(reference.values, reference.shape);
    std::copy(cells.begin(), cells.end(), found.values.begin());
    mask = above_half(on_grid(found, grid, false));
  }
  if (std::count(mask.begin(), mask.end(), 1) == 0)
    throw FormatError(name, mask_given ? "a mask that covers something of the volume" : "a foreground that differs from its surroundings", "none");
  const auto box = box_of(mask, grid, options);
  io::StoreVolume out;
  out.shape = box.shape;
  out.spacing = grid.spacing;
  Affine3 shift{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  for (std::size_t a = 0; a < 3; ++a) shift[4 * a + 3] = static_cast<double>(box.first[a]);
  out.affine = transforms::product(grid.affine, shift);
  const auto inside = cropped(mask, grid.shape, box);
  std::string sequences;
  for (std::size_t i = 0; i < session.sequences.size(); ++i) {
    const auto& [sequence, volume] = session.sequences[i];
    const auto where = name + ": " + sequence;
    const auto own = i == 0 ? Upright{} : upright(where, volume);
    const auto& source = i == 0 ? reference : own;
    const auto values = cropped(on_grid(source, grid, false), grid.shape, box);
    const auto scale = scale_of(where, values, inside, options);
    out.channels.push_back(coded(sequence, values, inside, scale, options));
    sequences += (sequences.empty() ? "" : ", ") + io::json_quote(sequence) + ": " + facts_of(source, scale);
  }
  out.channels.push_back({"mask", inside, 1, 0, 0});
  if (session.deface) {
    const auto cells = on_grid(upright(name + ": deface", binary(*session.deface)), grid, false);
    auto some = cropped(cells, grid.shape, box);
    std::vector<std::uint8_t> changed(some.size());
    // Any part of a cell that was changed: its value is no anatomy.
    for (std::size_t i = 0; i < some.size(); ++i) changed[i] = some[i] > 0 ? 1 : 0;
    out.channels.push_back({"deface", std::move(changed), 1, 0, 0});
  }
  if (session.labels) {
    const auto classes = on_grid(upright(name + ": labels", *session.labels), grid, true);
    out.channels.push_back(classes_of(name + ": labels", cropped(classes, grid.shape, box)));
  }
  out.settings = text_of(options);
  out.facts = std::string("{\"mask\": ") + (mask_given ? "\"given\"" : "\"found\"") + ", \"sequences\": {" + sequences + "}}";
  return out;
}

Session read_session(const SessionFiles& files, std::vector<std::string>& warnings) {
  Session out;
  for (const auto& [name, path] : files.sequences) out.sequences.emplace_back(name, io::read_volume3(path, warnings));
  const auto read = [&](const std::string& path, std::optional<Volume3>& into) {
    if (!path.empty()) into = io::read_volume3(path, warnings);
  };
  read(files.mask, out.mask);
  read(files.deface, out.deface);
  read(files.labels, out.labels);
  return out;
}

}  // namespace sslmed::volume
