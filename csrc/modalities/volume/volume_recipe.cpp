#include "modalities/volume/volume_recipe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/error.h"
#include "masking/blockwise_mask.h"
#include "masking/neighborhood_mask.h"
#include "masking/space_mask.h"
#include "transforms/volume_warp.h"

namespace sslmed::volume {
namespace {

using data::Array;
using data::GridSpace;
using Shape = std::array<std::int64_t, 3>;

const std::vector<float>& floats_of(const Array& array) { return std::get<std::vector<float>>(array.values); }
const std::vector<std::uint8_t>& bytes_of(const Array& array) { return std::get<std::vector<std::uint8_t>>(array.values); }

// A sample's arrays by what they are.
struct Parts {
  std::vector<Array*> sequences;
  const Array *mask = nullptr, *deface = nullptr;
};

Parts parts_of(data::Sample& sample) {
  Parts parts;
  for (auto& array : sample.arrays) {
    const auto* space = std::get_if<GridSpace>(&array.space);
    if (space == nullptr || array.shape.size() != 4 || array.shape[3] != 1 || space->spacing.size() != 3)
      throw ValueError("VolumeRecipe: needs arrays [X, Y, Z, 1] on a grid");
    if (array.shape != sample.arrays.front().shape) throw ValueError("VolumeRecipe: the arrays of a sample have different shapes");
    const bool bytes = std::holds_alternative<std::vector<std::uint8_t>>(array.values);
    if (array.name == "mask" && bytes) {
      parts.mask = &array;
    } else if (array.name == "deface" && bytes) {
      parts.deface = &array;
    } else if (!bytes) {
      parts.sequences.push_back(&array);
    } else {
      throw ValueError("VolumeRecipe: array " + quote(array.name) + " is bytes, expected a sequence of floats");
    }
  }
  if (parts.sequences.empty()) throw ValueError("VolumeRecipe: a sample without a sequence");
  return parts;
}

// Which sequences a view shows: each is dropped by itself, and one stays.
std::vector<Array*> drawn_sequences(const Parts& parts, double p_drop, Philox& random) {
  if (p_drop <= 0 || parts.sequences.size() < 2) return parts.sequences;
  std::vector<Array*> kept;
  for (auto* sequence : parts.sequences)
    if (random.uniform() >= p_drop) kept.push_back(sequence);
  const auto stays = parts.sequences[random.below(static_cast<std::uint32_t>(parts.sequences.size()))];
  if (kept.empty()) kept.push_back(stays);
  return kept;
}

// A view's changes of the region, and the cells that it shows of what they make of it.
struct Window {
  transforms::VolumeSpatialPlan plan;
  transforms::VolumeWarp warp;
  const Shape& shape() const { return plan.window; }
};

Window window_of(const Parts& parts, const VolumeView& how, const std::vector<std::int64_t>& patch, Philox& random) {
  const auto& array = *parts.sequences.front();
  const auto& spacing = std::get<GridSpace>(array.space).spacing;
  auto options = how.spatial;
  options.random_window = how.random;
  options.fill.reset();
  for (std::size_t a = 0; a < 3; ++a) {
    const auto cells = array.shape[a];
    options.window[a] = how.size[a] > 0 ? how.size[a] : std::max<std::int64_t>(1, std::llround(how.share * static_cast<double>(cells)));
    // Whole patches, around what there is.
    if (!patch.empty()) options.window[a] = (std::min(options.window[a], cells) + patch[a] - 1) / patch[a] * patch[a];
  }
  auto plan = transforms::plan_spatial({array.shape[0], array.shape[1], array.shape[2]}, {spacing[0], spacing[1], spacing[2]}, options, random);
  auto map = plan.map();
  return {std::move(plan), transforms::VolumeWarp(std::move(map))};
}

std::size_t cells_in(const Shape& shape) { return static_cast<std::size_t>(shape[0] * shape[1] * shape[2]); }

std::vector<std::uint8_t> windowed(const Array& array, const Window& window) {
  std::vector<std::uint8_t> out(cells_in(window.shape()));
  window.warp.apply<std::uint8_t>(bytes_of(array).data(), transforms::VolumeInterpolation::kNearest, 0, out.data());
  return out;
}

// With `take`, nobody needs the array's own values afterwards.
std::vector<float> windowed(Array& array, const Window& window, const VolumeView& how, bool take, Philox& random) {
  const auto& space = std::get<GridSpace>(array.space);
  const auto& plan = window.plan;
  const bool still = plan.window == plan.shape && !plan.affine && !plan.elastic && plan.flip == std::array<bool, 3>{};
  std::vector<float> out;
  if (take && still) {
    out = std::move(std::get<std::vector<float>>(array.values));
  } else {
    out.resize(cells_in(window.shape()));
    window.warp.apply<float>(floats_of(array).data(), transforms::VolumeInterpolation::kLinear, space.outside, out.data());
  }
  if (plan.anisotropy_axis >= 0)
    transforms::lose_resolution(window.shape(), static_cast<std::size_t>(plan.anisotropy_axis), plan.anisotropy, out.data(), out.data());
  const auto intensity = transforms::plan_intensity(how.intensity, random);
  transforms::apply_intensity(intensity, {out.data(), window.shape(), {space.spacing[0], space.spacing[1], space.spacing[2]}});
  return out;
}

data::LabelMap windowed(const data::LabelMap& map, const Window& window) {
  data::LabelMap out{{window.shape().begin(), window.shape().end()}, std::vector<std::int32_t>(cells_in(window.shape()))};
  window.warp.apply<std::int32_t>(map.classes.data(), transforms::VolumeInterpolation::kLabel, data::kUnlabeled, out.classes.data());
  return out;
}

// Copies a patch of a view, row by row.
template <class T>
T* copy_patch(const std::vector<T>& values, const Shape& shape, const Shape& cell, const std::vector<std::int64_t>& patch, T* to) {
  for (std::int64_t x = 0; x < patch[0]; ++x)
    for (std::int64_t y = 0; y < patch[1]; ++y)
      to = std::copy_n(values.data() + ((cell[0] * patch[0] + x) * shape[1] + cell[1] * patch[1] + y) * shape[2] + cell[2] * patch[2], patch[2], to);
  return to;
}

// Cells of the view's grid that are tokens, row-major. All of them where nothing is anatomy: a sample is never empty.
std::vector<Shape> token_cells(const Window& window, const Parts& parts, const std::vector<std::int64_t>& patch, double anatomy) {
  const auto& shape = window.shape();
  const Shape grid{shape[0] / patch[0], shape[1] / patch[1], shape[2] / patch[2]};
  const auto mask = parts.mask == nullptr ? std::vector<std::uint8_t>() : windowed(*parts.mask, window);
  const auto changed = parts.deface == nullptr ? std::vector<std::uint8_t>() : windowed(*parts.deface, window);
  const auto size = static_cast<std::size_t>(patch[0] * patch[1] * patch[2]);
  std::vector<std::uint8_t> cells(size);
  std::vector<Shape> all, kept;
  Shape at;
  for (at[0] = 0; at[0] < grid[0]; ++at[0])
    for (at[1] = 0; at[1] < grid[1]; ++at[1])
      for (at[2] = 0; at[2] < grid[2]; ++at[2]) {
        all.push_back(at);
        if (!changed.empty()) {
          copy_patch(changed, shape, at, patch, cells.data());
          if (std::count(cells.begin(), cells.end(), 0) != static_cast<std::ptrdiff_t>(size)) continue;
        }
        if (!mask.empty()) {
          copy_patch(mask, shape, at, patch, cells.data());
          const auto covered = static_cast<double>(std::count(cells.begin(), cells.end(), 1));
          if (covered == 0 || covered < anatomy * static_cast<double>(size)) continue;
        }
        kept.push_back(at);
      }
  return kept.empty() ? all : kept;
}

data::Patches patches_of(const std::vector<Array*>& sequences, const std::vector<std::vector<float>>& values, const Window& window,
                         const std::vector<Shape>& cells, const std::vector<std::int64_t>& patch) {
  data::Patches out;
  out.key = {sequences.front()->modality, patch, 1};
  out.count = static_cast<std::int64_t>(cells.size() * sequences.size());
  for (std::size_t a = 0; a < 3; ++a) out.extent.push_back(static_cast<std::int32_t>(window.shape()[a] / patch[a]));
  std::vector<float> numbers(static_cast<std::size_t>(out.count * patch[0] * patch[1] * patch[2]));
  auto* to = numbers.data();
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const auto& space = std::get<GridSpace>(sequences[s]->space);
    for (const auto& cell : cells) {
      to = copy_patch(values[s], window.shape(), cell, patch, to);
      for (std::size_t a = 0; a < 3; ++a) {
        const double middle = (static_cast<double>(cell[a]) + 0.5) * static_cast<double>(patch[a]) + static_cast<double>(window.plan.first[a]);
        out.coords.push_back(static_cast<float>(space.origin[a] + middle * space.spacing[a]));
        out.grid.push_back(static_cast<std::int32_t>(cell[a]));
      }
      out.coords.push_back(0);
      out.extra.push_back(space.extra);
    }
  }
  out.values = std::move(numbers);
  return out;
}

// Rectangles of a view's grid, hidden in all sequences alike.
masking::Mask rectangles_of(const data::Patches& patches, std::size_t cells, double ratio, const Draw& draw) {
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < cells; ++i) {
    const auto* at = patches.grid.data() + 3 * i;
    places.push_back((std::int64_t{at[0]} * patches.extent[1] + at[1]) * patches.extent[2] + at[2]);
  }
  const auto n = static_cast<std::int64_t>(cells);
  const auto one = masking::blockwise_mask(patches.extent, places, masking::keep_count(n, ratio), draw);
  masking::Mask all;
  for (std::int64_t first = 0; first < patches.count; first += n) {
    for (const auto i : one.visible) all.visible.push_back(static_cast<std::int32_t>(first + i));
    for (const auto i : one.masked) all.masked.push_back(static_cast<std::int32_t>(first + i));
  }
  return all;
}

// The mask of tokens that are the same cells in every sequence.
masking::Mask mask_of(const data::Patches& patches, std::size_t cells, const masking::MaskOptions& how, const Draw& draw) {
  const auto n = patches.count;
  if (masking::is_multiblock(how.mode)) return masking::neighborhood_mask(patches.coords.data(), n, draw, {draw.seed, draw.epoch, draw.batch});
  if (how.mode == masking::Mode::kBernoulli) return masking::bernoulli_mask(n, how.ratio, draw);
  if (how.mode == masking::Mode::kBlock) return rectangles_of(patches, cells, how.ratio, draw);
  const auto keep = masking::keep_count(n, how.ratio);
  if (how.mode == masking::Mode::kRandom) return masking::random_mask(n, keep, draw);
  std::vector<std::int32_t> numbers;
  if (how.mode == masking::Mode::kChannel) {  // whole sequences
    for (std::int64_t i = 0; i < n; ++i) numbers.push_back(static_cast<std::int32_t>(static_cast<std::size_t>(i) / cells));
    return masking::block_mask(numbers, keep, 1, draw);
  }
  // Balls of neighbours, in all sequences alike: one sequence tells another's values at a place.
  for (std::int64_t i = 0; i < n; ++i) {
    numbers.push_back(static_cast<std::int32_t>(static_cast<std::size_t>(i) % cells));
    numbers.push_back(0);
  }
  return masking::space_mask({patches.coords.data(), numbers.data(), n}, keep, how.radius, 1, draw);
}

data::Dense dense_of(const std::vector<Array*>& sequences, std::vector<std::vector<float>> values, const Window& window) {
  const auto& shape = window.shape();
  data::Dense dense{sequences.front()->modality, {static_cast<std::int64_t>(sequences.size()), shape[0], shape[1], shape[2]}, {}, {}};
  dense.spacing = std::get<GridSpace>(sequences.front()->space).spacing;
  std::vector<float> all = std::move(values.front());
  for (std::size_t i = 1; i < values.size(); ++i) all.insert(all.end(), values[i].begin(), values[i].end());
  dense.values = std::move(all);
  return dense;
}

void check_view(const VolumeView& view, bool dense) {
  const std::string where = "VolumeRecipe: view '" + view.role + "'";
  if (view.count < 1) throw ValueError(where + ": count=" + std::to_string(view.count) + " must be at least 1");
  for (const auto side : view.size)
    if (side < 0 || side > (1 << 12)) throw ValueError(where + ": size=" + std::to_string(side) + " cells must be 0 to 4,096");
  if (!(view.share > 0 && view.share <= 1)) throw ValueError(where + ": share=" + std::to_string(view.share) + " must be within (0, 1]");
  transforms::check(view.spatial);
  transforms::check(view.intensity);
  if (!(view.p_drop >= 0 && view.p_drop < 1)) throw ValueError(where + ": p_drop=" + std::to_string(view.p_drop) + " must be within [0, 1)");
  masking::check(view.mask, where.c_str());
  if (view.mask.mode == masking::Mode::kTime) throw ValueError(where + ": mask='time' is for signals, volumes have 'random', 'space' and 'channel'");
  if (!dense) return;
  if (*std::min_element(view.size.begin(), view.size.end()) == 0)
    throw ValueError(where + ": dense views need a size along every axis, so that they make a batch");
  if (view.p_drop > 0) throw ValueError(where + ": p_drop needs patches: dense views have all sequences");
  const auto mode = view.mask.mode;
  if (mode == masking::Mode::kNone) return;
  if (mode != masking::Mode::kRandom && mode != masking::Mode::kBernoulli && mode != masking::Mode::kBlock)
    throw ValueError(where + ": mask must be 'none', 'random', 'bernoulli' or 'block' for dense views");
  for (std::size_t a = 0; a < 3; ++a)
    if (view.mask_cell[a] < 1 || view.size[a] % view.mask_cell[a] != 0)
      throw ValueError(where + ": cell=" + std::to_string(view.mask_cell[a]) +
                       ", of what is masked together, must divide size=" + std::to_string(view.size[a]));
}

}  // namespace

VolumeRecipe::VolumeRecipe(VolumeRecipeOptions options) : options_(std::move(options)) {
  const auto& patch = options_.patch;
  if (!patch.empty() && patch.size() != 3) throw ValueError("VolumeRecipe: patch has " + std::to_string(patch.size()) + " axes, expected 3, or none");
  for (const auto side : patch) require(side >= 1 && side <= 256, "patch", side, "cells must be 1 to 256");
  require(options_.anatomy >= 0 && options_.anatomy <= 1, "anatomy", options_.anatomy, "must be within [0, 1]");
  if (options_.views.empty()) throw ValueError("VolumeRecipe: views must hold at least one view");
  for (const auto& view : options_.views) check_view(view, patch.empty());
}

std::vector<data::View> VolumeRecipe::make(data::Sample sample, const Draw& draw) const {
  const auto parts = parts_of(sample);
  std::map<std::string, data::LabelMap> labels;  // numbers do not move
  for (auto& [name, target] : sample.targets) {
    if (std::holds_alternative<double>(target)) continue;
    auto* map = std::get_if<data::LabelMap>(&target);
    if (map == nullptr || map->classes.size() != floats_of(*parts.sequences.front()).size())
      throw ValueError("VolumeRecipe: target " + quote(name) + " must be a label map of the volume's shape");
    labels[name] = std::move(*map);
  }
  Philox random(draw, Stream::kVolume, /*many=*/true);
  const bool only = options_.views.size() == 1 && options_.views.front().count == 1;
  std::vector<data::View> views;
  data::ViewNumbers numbered;
  for (const auto& how : options_.views)
    for (std::int64_t i = 0; i < how.count; ++i) {
      // Views of one sample have masks of their own: each has its number in the draw. The first one's is the sample's.
      auto named = draw;
      named.index += static_cast<std::uint64_t>(views.size()) << 48;
      const auto window = window_of(parts, how, options_.patch, random);
      const auto sequences = drawn_sequences(parts, how.p_drop, random);
      std::vector<std::vector<float>> values;
      for (auto* sequence : sequences) values.push_back(windowed(*sequence, window, how, only, random));
      data::View view;
      view.role = how.role;
      view.number = numbered.next(how.role);
      for (const auto& [name, map] : labels) view.targets[name] = windowed(map, window);
      if (options_.patch.empty()) {
        view.content = dense_of(sequences, std::move(values), window);
        std::vector<std::int32_t> extent;
        for (std::size_t a = 0; a < 3; ++a) extent.push_back(static_cast<std::int32_t>(window.shape()[a] / how.mask_cell[a]));
        view.mask = masking::view_mask(how.mask, std::int64_t{extent[0]} * extent[1] * extent[2], named,
                                       [&](const masking::MaskOptions& mask) { return masking::grid_mask(mask, extent, named); });
      } else {
        const auto cells = token_cells(window, parts, options_.patch, options_.anatomy);
        auto patches = patches_of(sequences, values, window, cells, options_.patch);
        view.mask =
            masking::view_mask(how.mask, patches.count, named, [&](const masking::MaskOptions& mask) { return mask_of(patches, cells.size(), mask, named); });
        view.content = std::move(patches);
      }
      views.push_back(std::move(view));
      if (!how.mask.complementary) continue;
      views.insert(views.end() - 1, views.back());
      std::swap((views.end() - 2)->mask->visible, (views.end() - 2)->mask->masked);
    }
  return views;
}

}  // namespace sslmed::volume
