#include "modalities/volume/prepare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/checksum.h"
#include "core/error.h"
#include "io/json.h"
#include "modalities/volume/decimals.h"
#include "modalities/volume/grids.h"
#include "transforms/foreground.h"

namespace sslmed::volume {
namespace {

using io::Extent3;
using io::Volume3;

constexpr std::array<std::pair<const char*, Crop>, 2> kCrops{{{"foreground", Crop::kForeground}, {"none", Crop::kNone}}};
constexpr double kLeastCovered = 0.9;  // share of the mask below which a sequence's field of view is worth a warning

std::int64_t cells_of(const Extent3& shape) { return shape[0] * shape[1] * shape[2]; }

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

std::string facts_of(const Upright& volume, const std::string& checksum, const Scale& scale) {
  return "{\"checksum\": " + io::json_quote(checksum) + ", \"orientation\": " + io::json_quote(volume.orientation) + ", \"shape\": " + decimals(volume.shape) +
         ", \"spacing\": " + decimals(volume.spacing) + ", \"low\": " + decimal(scale.low) + ", \"high\": " + decimal(scale.high) +
         ", \"mean\": " + decimal(scale.mean) + ", \"std\": " + decimal(scale.deviation) + "}";
}

// Names of a session's files in messages.
struct Names {
  const std::string& session;
  const SessionFiles& files;

  std::string sequence(std::size_t i, const std::string& name) const {
    return i < files.sequences.size() && !files.sequences[i].second.empty() ? files.sequences[i].second : session + ": " + name;
  }
  std::string other(const std::string& path, const char* kind) const { return path.empty() ? session + ": " + kind : path; }
};

// The anatomy on the grid: the mask that was given, or what the reference shows.
std::vector<std::uint8_t> anatomy(const Names& names, const Session& session, const Upright& reference, const Grid& grid) {
  std::vector<std::uint8_t> mask;
  if (session.mask) {
    const auto drawn = upright(names.other(session.files.mask, "mask"), binary(*session.mask));
    mask = above_half(on_grid(drawn, grid, Sampling::kLinear).values);
    if (std::count(mask.begin(), mask.end(), 1) == 0) throw FormatError(drawn.name, "a mask that covers something of the volume", "none");
    return mask;
  }
  auto found = reference;
  const auto cells = transforms::foreground(reference.values, reference.shape);
  std::copy(cells.begin(), cells.end(), found.values.begin());
  mask = above_half(on_grid(found, grid, Sampling::kLinear).values);
  if (std::count(mask.begin(), mask.end(), 1) == 0) throw FormatError(reference.name, "a foreground that differs from its surroundings", "none");
  return mask;
}

// The cells of the mask for which a sequence has a value.
std::vector<std::uint8_t> seen(const Upright& volume, std::vector<std::uint8_t> mask, const std::vector<std::uint8_t>& covered,
                               std::vector<std::string>& warnings) {
  if (covered.empty()) return mask;
  const auto all = static_cast<double>(std::count(mask.begin(), mask.end(), 1));
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = mask[i] != 0 && covered[i] != 0 ? 1 : 0;
  const double share = static_cast<double>(std::count(mask.begin(), mask.end(), 1)) / all;
  if (share == 0) throw FormatError(volume.name, "a field of view that covers something of the session's mask", "none of it");
  if (share < kLeastCovered)
    warnings.push_back(volume.name + ": its field of view covers " + std::to_string(std::lround(100 * share)) +
                       " % of the session's mask; the rest gets the lowest value, and is left out of mean and std");
  return mask;
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

std::string checksum_of(const Volume3& volume) {
  const std::uint64_t words[4]{checksum(volume.values.data(), volume.values.size() * sizeof(float)), static_cast<std::uint64_t>(volume.shape[0]),
                               static_cast<std::uint64_t>(volume.shape[1]), static_cast<std::uint64_t>(volume.shape[2])};
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(checksum(words, sizeof words)));
  return text;
}

std::string first_checksum(const std::string& path, const std::string& facts) {
  try {
    const auto known = io::parse_json(facts);
    const auto* sequences = known.find("sequences");
    const auto* found = sequences == nullptr || sequences->members.empty() ? nullptr : sequences->members.front().value.find("checksum");
    if (found != nullptr && found->kind == io::Json::Kind::kString) return found->text;
  } catch (const io::JsonError& error) {
    throw FormatError(path, "facts in JSON", error.what());
  }
  throw FormatError(path, "the checksum of a sequence among the facts", "none; prepare the cohort again (sslmed.prepare)");
}

io::StoreVolume prepare(const std::string& name, const Session& session, const PreparationOptions& options, std::vector<std::string>& warnings) {
  check(options);
  if (session.sequences.empty()) throw ValueError(name + ": prepare: needs at least one sequence");
  const Names names{name, session.files};
  const auto reference = upright(names.sequence(0, session.sequences.front().first), session.sequences.front().second);
  const auto grid = target_grid(reference, options.spacing);
  const auto mask = anatomy(names, session, reference, grid);
  const auto box = box_of(mask, grid, options);
  io::StoreVolume out;
  out.shape = box.shape;
  out.spacing = grid.spacing;
  transforms::Affine3 shift{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  for (std::size_t a = 0; a < 3; ++a) shift[4 * a + 3] = static_cast<double>(box.first[a]);
  out.affine = transforms::product(grid.affine, shift);
  const auto inside = cropped(mask, grid.shape, box);
  std::string sequences;
  for (std::size_t i = 0; i < session.sequences.size(); ++i) {
    const auto& [sequence, volume] = session.sequences[i];
    const auto own = i == 0 ? Upright{} : upright(names.sequence(i, sequence), volume);
    const auto& source = i == 0 ? reference : own;
    const auto placed = on_grid(source, grid, Sampling::kLinear);
    const auto values = cropped(placed.values, grid.shape, box);
    const auto covered = placed.covered.empty() ? placed.covered : cropped(placed.covered, grid.shape, box);
    const auto valued = seen(source, inside, covered, warnings);
    const auto scale = scale_of(source.name, values, valued, options);
    out.channels.push_back(coded(sequence, values, valued, scale, options));
    sequences += (sequences.empty() ? "" : ", ") + io::json_quote(sequence) + ": " + facts_of(source, checksum_of(volume), scale);
  }
  out.channels.push_back({"mask", inside, 1, 0, 0});
  if (session.deface) {
    const auto cells = on_grid(upright(names.other(session.files.deface, "deface"), binary(*session.deface)), grid, Sampling::kLinear).values;
    auto some = cropped(cells, grid.shape, box);
    std::vector<std::uint8_t> changed(some.size());
    // Any part of a cell that was changed: its value is no anatomy.
    for (std::size_t i = 0; i < some.size(); ++i) changed[i] = some[i] > 0 ? 1 : 0;
    out.channels.push_back({"deface", std::move(changed), 1, 0, 0});
  }
  if (session.labels) {
    const auto source = upright(names.other(session.files.labels, "labels"), *session.labels);
    out.channels.push_back(classes_of(source.name, cropped(on_grid(source, grid, Sampling::kNearest).values, grid.shape, box)));
  }
  out.settings = text_of(options);
  out.facts = std::string("{\"mask\": ") + (session.mask ? "\"given\"" : "\"found\"") + ", \"sequences\": {" + sequences + "}}";
  return out;
}

Session read_session(const SessionFiles& files, std::vector<std::string>& warnings) {
  Session out;
  out.files = files;
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
