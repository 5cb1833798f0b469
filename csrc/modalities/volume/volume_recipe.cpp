#include "modalities/volume/volume_recipe.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "masking/neighborhood_mask.h"
#include "masking/space_mask.h"

namespace sslmed::volume {
namespace {

using data::Array;
using data::GridSpace;
using Shape = std::array<std::int64_t, 3>;

const std::vector<float>& floats_of(const Array& array) { return std::get<std::vector<float>>(array.values); }
const std::vector<std::uint8_t>& bytes_of(const Array& array) { return std::get<std::vector<std::uint8_t>>(array.values); }

// A sample's arrays by what they are.
struct Parts {
  std::vector<const Array*> sequences;
  const Array *mask = nullptr, *deface = nullptr;
};

Parts parts_of(const data::Sample& sample) {
  Parts parts;
  for (const auto& array : sample.arrays) {
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
std::vector<const Array*> drawn_sequences(const Parts& parts, double p_drop, Philox& random) {
  if (p_drop <= 0 || parts.sequences.size() < 2) return parts.sequences;
  std::vector<const Array*> kept;
  for (const auto* sequence : parts.sequences)
    if (random.uniform() >= p_drop) kept.push_back(sequence);
  const auto stays = parts.sequences[random.below(static_cast<std::uint32_t>(parts.sequences.size()))];
  if (kept.empty()) kept.push_back(stays);
  return kept;
}

// Where a view's cells lie in the region: cell i of an axis is cell first + i of it, counted from the other end with a flip.
struct Window {
  Shape from, first, shape;
  std::array<bool, 3> flip{};
  std::int64_t at(std::size_t axis, std::int64_t i) const { return first[axis] + (flip[axis] ? shape[axis] - 1 - i : i); }
};

template <class T>
std::vector<T> windowed(const std::vector<T>& values, const Window& window, T outside) {
  const auto& [from, first, shape, flip] = window;
  std::vector<T> out(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]), outside);
  for (std::int64_t x = 0; x < shape[0]; ++x) {
    const auto sx = window.at(0, x);
    if (sx < 0 || sx >= from[0]) continue;
    for (std::int64_t y = 0; y < shape[1]; ++y) {
      const auto sy = window.at(1, y);
      if (sy < 0 || sy >= from[1]) continue;
      auto* row = out.data() + (x * shape[1] + y) * shape[2];
      const auto* line = values.data() + (sx * from[1] + sy) * from[2];
      for (std::int64_t z = 0; z < shape[2]; ++z) {
        const auto sz = window.at(2, z);
        if (sz >= 0 && sz < from[2]) row[z] = line[sz];
      }
    }
  }
  return out;
}

Window window_of(const Shape& from, const VolumeView& how, const std::vector<std::int64_t>& patch, Philox& random) {
  Window out{from, {}, {}, {}};
  for (std::size_t a = 0; a < 3; ++a) {
    auto side = how.size[a] > 0 ? how.size[a] : from[a];
    if (!patch.empty()) side = (std::min(side, from[a]) + patch[a] - 1) / patch[a] * patch[a];  // whole patches, around what there is
    const auto room = from[a] - side;
    // What is smaller than the view lies in its middle.
    out.first[a] = room > 0 && how.random ? static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(room + 1))) : (room - (room < 0 ? 1 : 0)) / 2;
    out.shape[a] = side;
  }
  for (std::size_t a = 0; a < 3; ++a) out.flip[a] = how.p_flip[a] > 0 && random.uniform() < how.p_flip[a];
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
  const Shape grid{window.shape[0] / patch[0], window.shape[1] / patch[1], window.shape[2] / patch[2]};
  const auto mask = parts.mask == nullptr ? std::vector<std::uint8_t>() : windowed<std::uint8_t>(bytes_of(*parts.mask), window, 0);
  const auto changed = parts.deface == nullptr ? std::vector<std::uint8_t>() : windowed<std::uint8_t>(bytes_of(*parts.deface), window, 0);
  const auto size = static_cast<std::size_t>(patch[0] * patch[1] * patch[2]);
  std::vector<std::uint8_t> cells(size);
  std::vector<Shape> all, kept;
  Shape at;
  for (at[0] = 0; at[0] < grid[0]; ++at[0])
    for (at[1] = 0; at[1] < grid[1]; ++at[1])
      for (at[2] = 0; at[2] < grid[2]; ++at[2]) {
        all.push_back(at);
        if (!changed.empty()) {
          copy_patch(changed, window.shape, at, patch, cells.data());
          if (std::count(cells.begin(), cells.end(), 0) != static_cast<std::ptrdiff_t>(size)) continue;
        }
        if (!mask.empty()) {
          copy_patch(mask, window.shape, at, patch, cells.data());
          const auto covered = static_cast<double>(std::count(cells.begin(), cells.end(), 1));
          if (covered == 0 || covered < anatomy * static_cast<double>(size)) continue;
        }
        kept.push_back(at);
      }
  return kept.empty() ? all : kept;
}

data::Patches patches_of(const std::vector<const Array*>& sequences, const std::vector<std::vector<float>>& values, const Window& window,
                         const std::vector<Shape>& cells, const std::vector<std::int64_t>& patch) {
  data::Patches out;
  out.key = {sequences.front()->modality, patch, 1};
  out.count = static_cast<std::int64_t>(cells.size() * sequences.size());
  for (std::size_t a = 0; a < 3; ++a) out.extent.push_back(static_cast<std::int32_t>(window.shape[a] / patch[a]));
  std::vector<float> numbers(static_cast<std::size_t>(out.count * patch[0] * patch[1] * patch[2]));
  auto* to = numbers.data();
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const auto& space = std::get<GridSpace>(sequences[s]->space);
    for (const auto& cell : cells) {
      to = copy_patch(values[s], window.shape, cell, patch, to);
      for (std::size_t a = 0; a < 3; ++a) {
        const double middle = (static_cast<double>(cell[a]) + 0.5) * static_cast<double>(patch[a]) + static_cast<double>(window.first[a]);
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

// The mask of tokens that are the same cells in every sequence.
masking::Mask mask_of(const data::Patches& patches, std::size_t cells, const masking::MaskOptions& how, const Draw& draw) {
  const auto n = patches.count;
  if (masking::is_multiblock(how.mode)) return masking::neighborhood_mask(patches.coords.data(), n, draw, {draw.seed, draw.epoch, draw.batch});
  if (how.mode == masking::Mode::kBernoulli) return masking::bernoulli_mask(n, how.ratio, draw);
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

}  // namespace

VolumeRecipe::VolumeRecipe(VolumeRecipeOptions options) : options_(std::move(options)) {
  const auto& patch = options_.patch;
  if (!patch.empty() && patch.size() != 3) throw ValueError("VolumeRecipe: patch has " + std::to_string(patch.size()) + " axes, expected 3, or none");
  for (const auto side : patch) require(side >= 1 && side <= 256, "patch", side, "cells must be 1 to 256");
  require(options_.anatomy >= 0 && options_.anatomy <= 1, "anatomy", options_.anatomy, "must be within [0, 1]");
  if (options_.views.empty()) throw ValueError("VolumeRecipe: views must hold at least one view");
  for (const auto& view : options_.views) {
    const std::string where = "VolumeRecipe: view '" + view.role + "'";
    if (view.count < 1) throw ValueError(where + ": count=" + std::to_string(view.count) + " must be at least 1");
    for (const auto side : view.size)
      if (side < 0 || side > (1 << 12)) throw ValueError(where + ": size=" + std::to_string(side) + " cells must be 0 to 4,096");
    for (const auto p : view.p_flip)
      if (!(p >= 0 && p <= 1)) throw ValueError(where + ": p_flip=" + std::to_string(p) + " must be within [0, 1]");
    if (!(view.p_drop >= 0 && view.p_drop < 1)) throw ValueError(where + ": p_drop=" + std::to_string(view.p_drop) + " must be within [0, 1)");
    masking::check(view.mask, where.c_str());
    if (view.mask.mode == masking::Mode::kTime) throw ValueError(where + ": mask='time' is for signals, volumes have 'random', 'space' and 'channel'");
    if (patch.empty() && view.mask.mode != masking::Mode::kNone) throw ValueError(where + ": a mask needs patches, and views are dense");
    if (patch.empty() && *std::min_element(view.size.begin(), view.size.end()) == 0)
      throw ValueError(where + ": dense views need a size along every axis, so that they make a batch");
    if (patch.empty() && view.p_drop > 0) throw ValueError(where + ": p_drop needs patches: dense views have all sequences");
  }
}

std::vector<data::View> VolumeRecipe::make(data::Sample sample, const Draw& draw) const {
  const auto parts = parts_of(sample);
  const auto& shape = parts.sequences.front()->shape;
  const Shape from{shape[0], shape[1], shape[2]};
  std::erase_if(sample.targets, [](const auto& target) { return std::holds_alternative<double>(target.second); });  // numbers do not move
  Philox random(draw, Stream::kVolume, /*many=*/true);
  std::vector<data::View> views;
  for (const auto& how : options_.views)
    for (std::int64_t number = 0; number < how.count; ++number) {
      const auto window = window_of(from, how, options_.patch, random);
      const auto sequences = drawn_sequences(parts, how.p_drop, random);
      std::vector<std::vector<float>> values;
      for (const auto* sequence : sequences) values.push_back(windowed(floats_of(*sequence), window, std::get<GridSpace>(sequence->space).outside));
      data::View view;
      view.role = how.role;
      view.number = static_cast<std::int32_t>(number);
      if (!sample.targets.empty()) {
        auto geometry = transforms::Geometry::identity({from[0], from[1], from[2]});
        geometry.crop({window.first[0], window.first[1], window.first[2]}, {window.shape[0], window.shape[1], window.shape[2]});
        for (std::size_t a = 0; a < 3; ++a)
          if (window.flip[a]) geometry.flip(a);
        view.targets = data::moved(sample.targets, geometry);
      }
      if (options_.patch.empty()) {
        data::Dense dense{
            sequences.front()->modality, {static_cast<std::int64_t>(sequences.size()), window.shape[0], window.shape[1], window.shape[2]}, {}, {}};
        dense.spacing = std::get<GridSpace>(sequences.front()->space).spacing;
        std::vector<float> all;
        for (const auto& channel : values) all.insert(all.end(), channel.begin(), channel.end());
        dense.values = std::move(all);
        view.content = std::move(dense);
        views.push_back(std::move(view));
        continue;
      }
      const auto cells = token_cells(window, parts, options_.patch, options_.anatomy);
      auto patches = patches_of(sequences, values, window, cells, options_.patch);
      if (how.mask.mode != masking::Mode::kNone) {
        // Views of one sample have masks of their own: each has its number in the draw. The first one's is the sample's.
        auto named = draw;
        named.index += static_cast<std::uint64_t>(views.size()) << 48;
        view.mask = mask_of(patches, cells.size(), how.mask, named);
      }
      view.content = std::move(patches);
      views.push_back(std::move(view));
      if (!how.mask.complementary) continue;
      views.insert(views.end() - 1, views.back());
      std::swap((views.end() - 2)->mask->visible, (views.end() - 2)->mask->masked);
    }
  return views;
}

}  // namespace sslmed::volume
