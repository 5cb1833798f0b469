#include "data/grid_recipe.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/error.h"

namespace sslmed::data {
namespace {

using transforms::Geometry;

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (const auto extent : shape) n *= extent;
  return n;
}

// The row-major places of a grid.
class Cells {
 public:
  explicit Cells(std::vector<std::int64_t> shape) : shape_(std::move(shape)), at_(shape_.size(), 0) {}
  const std::vector<std::int64_t>& at() const noexcept { return at_; }
  void next() {
    for (std::size_t axis = shape_.size(); axis-- > 0 && ++at_[axis] == shape_[axis];) at_[axis] = 0;
  }

 private:
  std::vector<std::int64_t> shape_, at_;
};

// [spatial…, channels] cut into patches, each (p…, c).
template <class T>
std::vector<T> cut(const std::vector<T>& values, const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& patch, std::int64_t channels) {
  const auto rank = shape.size();
  std::vector<std::int64_t> grid(rank), strides(rank, channels);
  for (std::size_t a = rank; a-- > 1;) strides[a - 1] = strides[a] * shape[a];
  for (std::size_t a = 0; a < rank; ++a) grid[a] = shape[a] / patch[a];
  auto lines = patch;  // of one patch: runs along the last axis lie together
  lines.back() = 1;
  std::vector<T> out(values.size());
  auto to = out.begin();
  Cells cell(grid);
  for (std::int64_t i = 0; i < product(grid); ++i, cell.next()) {
    Cells line(lines);
    for (std::int64_t k = 0; k < product(lines); ++k, line.next()) {
      std::int64_t from = 0;
      for (std::size_t a = 0; a < rank; ++a) from += (cell.at()[a] * patch[a] + line.at()[a]) * strides[a];
      to = std::copy_n(values.begin() + from, patch.back() * channels, to);
    }
  }
  return out;
}

// [spatial…, channels] to [channels, spatial…].
template <class T>
std::vector<T> channels_first(std::vector<T> values, std::int64_t channels) {
  if (channels == 1) return values;
  const auto cells = static_cast<std::int64_t>(values.size()) / channels;
  std::vector<T> out(values.size());
  for (std::int64_t i = 0; i < cells; ++i)
    for (std::int64_t c = 0; c < channels; ++c) out[static_cast<std::size_t>(c * cells + i)] = values[static_cast<std::size_t>(i * channels + c)];
  return out;
}

Patches patches_of(const Array& array, Values values, const Geometry& geometry, const std::vector<std::int64_t>& patch) {
  const auto rank = geometry.rank();
  const auto& space = std::get<GridSpace>(array.space);
  Patches out;
  out.key = {array.modality, patch, array.shape.back()};
  std::vector<std::int64_t> grid(rank);
  for (std::size_t a = 0; a < rank; ++a) {
    if (geometry.to[a] % patch[a] != 0)
      throw ValueError("GridRecipe: patch=" + std::to_string(patch[a]) + " cells does not divide the view's " + std::to_string(geometry.to[a]) + " of axis " +
                       std::to_string(a));
    grid[a] = geometry.to[a] / patch[a];
    out.extent.push_back(static_cast<std::int32_t>(grid[a]));
  }
  out.count = product(grid);
  std::visit([&](const auto& all) { out.values = cut(all, geometry.to, patch, array.shape.back()); }, values);
  std::vector<double> middle(rank), source(rank);
  Cells cell(grid);
  for (std::int64_t i = 0; i < out.count; ++i, cell.next()) {
    for (std::size_t a = 0; a < rank; ++a) {
      middle[a] = (static_cast<double>(cell.at()[a]) + 0.5) * static_cast<double>(patch[a]);
      out.grid.push_back(static_cast<std::int32_t>(cell.at()[a]));
    }
    geometry.source_of(middle.data(), source.data());
    float place[4] = {0, 0, 0, 0};  // x is the last axis; a fourth one has no place
    for (std::size_t a = rank > 3 ? rank - 3 : 0; a < rank; ++a)
      place[rank - 1 - a] = space.spacing[a] > 0 ? static_cast<float>(space.origin[a] + source[a] * space.spacing[a]) : std::numeric_limits<float>::quiet_NaN();
    out.coords.insert(out.coords.end(), std::begin(place), std::end(place));
  }
  return out;
}

}  // namespace

GridRecipe::GridRecipe(std::vector<GridView> views) : views_(std::move(views)) {
  if (views_.empty()) throw ValueError("GridRecipe: views must hold at least one view");
  for (const auto& view : views_) {
    const std::string where = "GridRecipe: view '" + view.role + "'";
    if (view.count < 1) throw ValueError(where + ": count=" + std::to_string(view.count) + " must be at least 1");
    const std::pair<const char*, const std::vector<std::int64_t>&> sizes[] = {{"patch", view.patch}, {"crop", view.crop}, {"mask_cell", view.mask_cell}};
    for (const auto& [name, all] : sizes)
      for (const auto size : all)
        if (size < 1) throw ValueError(where + ": " + name + "=" + std::to_string(size) + " must be at least 1 cell");
    for (const auto p : view.p_flip)
      if (!(p >= 0 && p <= 1)) throw ValueError(where + ": p_flip=" + std::to_string(p) + " must be within [0, 1]");
    masking::check(view.mask, where.c_str());
    if (view.mask.mode == masking::Mode::kSpace) throw ValueError(where + ": mask='space' is for channels, not for a grid");
    if (view.mask.mode != masking::Mode::kNone && view.patch.empty() && view.mask_cell.empty())
      throw ValueError(where + ": a mask of a dense view needs mask_cell");
  }
}

View GridRecipe::view(const Array& array, const Targets& targets, const GridView& how, Philox& random) const {
  const std::vector<std::int64_t> shape(array.shape.begin(), array.shape.end() - 1);
  const auto rank = shape.size();
  const auto check_rank = [&](const char* name, std::size_t given) {
    if (given != 0 && given != rank)
      throw ValueError(std::string("GridRecipe: ") + name + " has " + std::to_string(given) + " axes, expected the " + std::to_string(rank) + " of the sample");
  };
  check_rank("patch", how.patch.size());
  check_rank("crop", how.crop.size());
  check_rank("p_flip", how.p_flip.size());
  check_rank("mask_cell", how.mask_cell.size());
  auto geometry = Geometry::identity(shape);
  if (!how.crop.empty()) {
    std::vector<std::int64_t> first(rank);
    for (std::size_t a = 0; a < rank; ++a) {
      const auto room = shape[a] - how.crop[a];
      if (room < 0)
        throw ValueError("GridRecipe: crop=" + std::to_string(how.crop[a]) + " cells is larger than the sample's " + std::to_string(shape[a]) + " of axis " +
                         std::to_string(a));
      first[a] = how.random ? static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(room + 1))) : room / 2;
    }
    geometry.crop(first, how.crop);
  }
  for (std::size_t a = 0; a < how.p_flip.size(); ++a)
    if (how.p_flip[a] > 0 && random.uniform() < how.p_flip[a]) geometry.flip(a);
  const auto channels = array.shape.back();
  Values values = std::visit(
      [&](const auto& from) -> Values {
        std::decay_t<decltype(from)> into(static_cast<std::size_t>(product(geometry.to) * channels));
        transforms::resample(geometry, from.data(), channels, transforms::Interpolation::kNearest, {}, into.data());
        return into;
      },
      array.values);
  View out;
  out.role = how.role;
  if (!targets.empty()) out.targets = moved(targets, geometry);
  if (!how.patch.empty()) {
    out.content = patches_of(array, std::move(values), geometry, how.patch);
    return out;
  }
  Dense dense{array.modality, {channels}, {}, std::get<GridSpace>(array.space).spacing};
  dense.shape.insert(dense.shape.end(), geometry.to.begin(), geometry.to.end());
  std::visit([&](auto& all) { dense.values = channels_first(std::move(all), channels); }, values);
  out.content = std::move(dense);
  return out;
}

std::vector<View> GridRecipe::make(Sample sample, const Draw& draw) const {
  if (sample.arrays.size() != 1) throw ValueError("GridRecipe: needs a sample of one array, got " + std::to_string(sample.arrays.size()));
  const auto& array = sample.arrays[0];
  const auto* space = std::get_if<GridSpace>(&array.space);
  if (space == nullptr || array.shape.size() < 2 || space->spacing.size() + 1 != array.shape.size())
    throw ValueError("GridRecipe: needs an array [spatial…, channels] on a grid");
  const auto numbers = std::visit([](const auto& values) { return values.size(); }, array.values);
  if (numbers != static_cast<std::size_t>(product(array.shape))) throw ValueError("GridRecipe: the sample's values do not fill its shape");
  std::erase_if(sample.targets, [](const auto& target) { return std::holds_alternative<double>(target.second); });  // numbers do not move
  Philox random(draw, Stream::kGrid, /*many=*/true);
  std::vector<View> views;
  ViewNumbers numbered;
  for (const auto& how : views_) {
    for (std::int64_t i = 0; i < how.count; ++i) {
      views.push_back(view(array, sample.targets, how, random));
      views.back().number = numbered.next(how.role);
      if (how.mask.mode == masking::Mode::kNone) continue;
      std::vector<std::int32_t> extent;
      if (const auto* patches = std::get_if<Patches>(&views.back().content)) {
        extent = patches->extent;
      } else {
        const auto& shape = std::get<Dense>(views.back().content).shape;
        for (std::size_t a = 0; a < how.mask_cell.size(); ++a)
          extent.push_back(static_cast<std::int32_t>((shape[a + 1] + how.mask_cell[a] - 1) / how.mask_cell[a]));
      }
      // Views of one sample have masks of their own: each has its number in the draw.
      auto named = draw;
      named.index += static_cast<std::uint64_t>(views.size() - 1) << 48;
      std::int64_t cells = 1;
      for (const auto side : extent) cells *= side;
      views.back().mask = masking::view_mask(how.mask, cells, named, [&](const masking::MaskOptions& mask) { return masking::grid_mask(mask, extent, named); });
      if (!how.mask.complementary) continue;
      views.insert(views.end() - 1, views.back());
      std::swap((views.end() - 2)->mask->visible, (views.end() - 2)->mask->masked);
    }
  }
  return views;
}

}  // namespace sslmed::data
