#include "modalities/picture/picture_recipe.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"

namespace sslmed::picture {
namespace {

void check_view(const PictureView& view, std::int64_t patch) {
  const std::string where = "PictureRecipe: view '" + view.role + "'";
  check(view.augmentation);
  check(view.frame, view.augmentation);
  if (view.count < 1) throw ValueError(where + ": count=" + std::to_string(view.count) + " must be at least 1");
  if (patch > 0 && (view.frame.size < patch || view.frame.size % patch != 0))
    throw ValueError(where + ": size=" + std::to_string(view.frame.size) + " pixels must be a multiple of patch=" + std::to_string(patch));
  if (patch == 0 && view.on_device) throw ValueError(where + ": on_device=True needs patches: dense views are made in the loader's threads");
  masking::check(view.mask, where.c_str());
  if (patch == 0 && view.mask.mode != masking::Mode::kNone && (view.mask_cell < 1 || view.frame.size % view.mask_cell != 0))
    throw ValueError(where + ": cell=" + std::to_string(view.mask_cell) +
                     " pixels, of what is masked together, must divide size=" + std::to_string(view.frame.size));
  const auto mode = view.mask.mode;
  if (mode == masking::Mode::kTime || mode == masking::Mode::kChannel || mode == masking::Mode::kSpace)
    throw ValueError(where + ": mask must be 'none', 'random', 'bernoulli', 'block' or a multi-block mask for pictures");
}

}  // namespace

PictureRecipe::PictureRecipe(PictureRecipeOptions options) : options_(std::move(options)) {
  if (options_.patch < 0) throw ValueError("PictureRecipe: patch=" + std::to_string(options_.patch) + " must be at least 1 pixel");
  if (options_.views.empty()) throw ValueError("PictureRecipe: views must hold at least one view");
  for (const auto& view : options_.views) {
    check_view(view, options_.patch);
    for (const auto& other : options_.views)
      if (other.role == view.role && other.on_device != view.on_device)
        throw ValueError("PictureRecipe: on_device must be the same for all views of the role '" + view.role + "'");
  }
}

transforms::Geometry geometry_of(const transforms::AugmentPlan& plan, std::int64_t width, std::int64_t height) {
  const auto m = place_of(plan);
  auto out = transforms::Geometry::identity({height, width});
  return out.affine({m[4], m[3], m[1], m[0]}, {m[5], m[2]}, {plan.size, plan.size});
}

namespace {

// [3, size, size] bytes, and the millimetres that a pixel of the view is high and wide in the picture.
data::Dense dense_of(const data::Array& picture, const transforms::AugmentPlan& plan) {
  const auto pixels = static_cast<std::size_t>(plan.size * plan.size);
  thread_local std::vector<std::uint8_t> made;
  made.resize(3 * pixels);
  apply(plan, std::get<std::vector<std::uint8_t>>(picture.values).data(), picture.shape[1], picture.shape[0], made.data());
  std::vector<std::uint8_t> planes(made.size());
  for (std::size_t i = 0; i < pixels; ++i)
    for (std::size_t c = 0; c < 3; ++c) planes[c * pixels + i] = made[3 * i + c];
  const auto m = place_of(plan);
  const auto& spacing = std::get<data::GridSpace>(picture.space).spacing;
  return {picture.modality,
          {3, plan.size, plan.size},
          std::move(planes),
          {std::hypot(m[1] * spacing[1], m[4] * spacing[0]), std::hypot(m[0] * spacing[1], m[3] * spacing[0])}};
}

// Cells that a view's mask counts.
std::vector<std::int32_t> mask_extent(const data::View& view, std::int64_t cell) {
  if (const auto* patches = std::get_if<data::Patches>(&view.content)) return patches->extent;
  const auto& shape = std::get<data::Dense>(view.content).shape;
  return {static_cast<std::int32_t>(shape[1] / cell), static_cast<std::int32_t>(shape[2] / cell)};
}

}  // namespace

data::Patches PictureRecipe::patches(const std::shared_ptr<const data::Array>& picture, const transforms::AugmentPlan& plan, bool on_device) const {
  const std::int64_t size = plan.size, p = options_.patch, side = size / p;
  const auto place = place_of(plan);
  data::Patches patches;
  patches.key = {picture->modality, {p, p}, 3};
  patches.count = side * side;
  patches.extent = {static_cast<std::int32_t>(side), static_cast<std::int32_t>(side)};
  if (on_device) {
    patches.values = data::Deferred{picture, plan};
  } else {
    thread_local std::vector<std::uint8_t> made;
    made.resize(static_cast<std::size_t>(3 * size * size));
    apply(plan, std::get<std::vector<std::uint8_t>>(picture->values).data(), picture->shape[1], picture->shape[0], made.data());
    std::vector<std::uint8_t> squares(made.size());
    transforms::to_squares(made.data(), size, p, squares.data());
    patches.values = std::move(squares);
  }
  const auto n = static_cast<std::size_t>(patches.count);
  patches.coords.reserve(4 * n);
  patches.grid.reserve(2 * n);
  const auto& space = std::get<data::GridSpace>(picture->space);
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  const bool known = space.spacing[1] > 0;
  for (std::int64_t row = 0; row < side; ++row) {
    for (std::int64_t column = 0; column < side; ++column) {
      const double u = (static_cast<double>(column) + 0.5) * static_cast<double>(p), v = (static_cast<double>(row) + 0.5) * static_cast<double>(p);
      const double x = place[0] * u + place[1] * v + place[2], y = place[3] * u + place[4] * v + place[5];
      patches.coords.insert(patches.coords.end(), {static_cast<float>(known ? space.origin[1] + x * space.spacing[1] : unknown),
                                                   static_cast<float>(known ? space.origin[0] + y * space.spacing[0] : unknown), 0, 0});
      patches.grid.insert(patches.grid.end(), {static_cast<std::int32_t>(row), static_cast<std::int32_t>(column)});
    }
  }
  return patches;
}

data::View PictureRecipe::view(const std::shared_ptr<const data::Array>& picture, const data::Targets& targets, const PictureView& how, Philox& random) const {
  const auto width = picture->shape[1], height = picture->shape[0];
  const auto plan = transforms::plan(width, height, how.augmentation, how.frame, random);
  data::View view;
  view.role = how.role;
  if (options_.patch > 0) {
    view.content = patches(picture, plan, how.on_device);
  } else {
    view.content = dense_of(*picture, plan);
  }
  if (!targets.empty()) view.targets = data::moved(targets, geometry_of(plan, width, height));
  return view;
}

std::vector<data::View> PictureRecipe::make(data::Sample sample, const Draw& draw) const {
  if (sample.arrays.size() != 1) throw ValueError("PictureRecipe: needs a sample of one picture, got " + std::to_string(sample.arrays.size()) + " arrays");
  const auto& shape = sample.arrays[0].shape;
  const auto* pixels = std::get_if<std::vector<std::uint8_t>>(&sample.arrays[0].values);
  if (shape.size() != 3 || shape[2] != 3 || pixels == nullptr || pixels->size() != static_cast<std::size_t>(3 * shape[0] * shape[1]))
    throw ValueError("PictureRecipe: needs pictures [height, width, 3] of uint8");
  Philox random(draw, Stream::kPicture, /*many=*/true);
  const auto picture = std::make_shared<const data::Array>(std::move(sample.arrays[0]));
  std::erase_if(sample.targets, [](const auto& target) { return std::holds_alternative<double>(target.second); });  // numbers do not move
  std::vector<data::View> views;
  data::ViewNumbers numbered;
  for (const auto& how : options_.views) {
    for (std::int64_t i = 0; i < how.count; ++i) {
      views.push_back(view(picture, sample.targets, how, random));
      views.back().number = numbered.next(how.role);
      if (how.mask.mode == masking::Mode::kNone) continue;
      // Views of one sample have masks of their own: each has its number in the draw. The first one's is the sample's.
      auto named = draw;
      named.index += static_cast<std::uint64_t>(views.size() - 1) << 48;
      const auto extent = mask_extent(views.back(), how.mask_cell);
      views.back().mask = masking::view_mask(how.mask, std::int64_t{extent[0]} * extent[1], named,
                                             [&](const masking::MaskOptions& mask) { return masking::grid_mask(mask, extent, named); });
      if (!how.mask.complementary) continue;
      views.insert(views.end() - 1, views.back());
      std::swap((views.end() - 2)->mask->visible, (views.end() - 2)->mask->masked);
    }
  }
  return views;
}

}  // namespace sslmed::picture
