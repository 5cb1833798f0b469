#include "data/picture_recipe.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/error.h"
#include "masking/multiblock_mask.h"

namespace sslmed::data {
namespace {

// Patches of signals have their length as embedding.
constexpr std::int64_t kPictures = std::int64_t{1} << 32;

}  // namespace

PictureRecipe::PictureRecipe(PictureRecipeOptions options) : options_(std::move(options)) {
  if (options_.patch < 1) throw ValueError("a patch has at least one pixel, got " + std::to_string(options_.patch));
  if (options_.views.empty()) throw ValueError("a recipe needs a view");
  for (const auto& view : options_.views) {
    check(view.augmentation);
    check(view.frame, view.augmentation);
    for (const auto& other : options_.views)
      if (other.role == view.role && other.on_device != view.on_device)
        throw ValueError("views of the role '" + view.role + "' are all made on the device, or none");
    if (view.count < 1) throw ValueError("a recipe makes at least one of each view, got " + std::to_string(view.count));
    if (view.frame.size < options_.patch || view.frame.size % options_.patch != 0)
      throw ValueError("a view of " + std::to_string(view.frame.size) + " pixels is not made of patches of " + std::to_string(options_.patch));
  }
  const auto mask = options_.mask;
  if (mask == MaskMode::kNone) return;
  if (mask != MaskMode::kRandom && mask != MaskMode::kBernoulli && !is_multiblock(mask))
    throw ValueError("patches of pictures are masked at random, each by itself (bernoulli), or by multi-block masks");
  if (options_.views.size() > 1 || options_.views[0].count > 1) throw ValueError("a mask is for one view of each sample");
  if (!is_multiblock(mask) && !(options_.ratio > 0 && options_.ratio < 1))
    throw ValueError("a mask ratio must be within (0, 1), got " + std::to_string(options_.ratio));
  if (options_.complementary && is_multiblock(mask)) throw ValueError("complementary masks are for masks of single tokens, not for multi-block ones");
}

PatchView PictureRecipe::view(const std::shared_ptr<const Sample>& sample, const PictureView& how, Philox& random) const {
  const std::int64_t size = how.frame.size, p = options_.patch, side = size / p;
  const auto width = sample->shape[1], height = sample->shape[0];
  const auto plan = transforms::plan(width, height, how.augmentation, how.frame, random);
  const auto place = place_of(plan);
  PatchView view;
  view.role = how.role;
  view.embedding = kPictures + p;
  view.patch = 3 * p * p;
  view.count = side * side;
  if (how.on_device) {
    view.deferred = {sample, plan, p};
  } else {
    thread_local std::vector<std::uint8_t> picture;
    picture.resize(static_cast<std::size_t>(3 * size * size));
    apply(plan, sample->pixels.data(), width, height, picture.data());
    view.pixels.resize(picture.size());
    transforms::to_squares(picture.data(), size, p, view.pixels.data());
  }
  const auto n = static_cast<std::size_t>(view.count);
  view.coords.reserve(4 * n);
  view.grid.reserve(2 * n);
  view.extra.assign(n, -1);
  const auto& space = sample->picture;
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t row = 0; row < side; ++row) {
    for (std::int64_t column = 0; column < side; ++column) {
      const double u = (static_cast<double>(column) + 0.5) * static_cast<double>(p), v = (static_cast<double>(row) + 0.5) * static_cast<double>(p);
      const double x = place[0] * u + place[1] * v + place[2], y = place[3] * u + place[4] * v + place[5];
      const bool known = space.pixel[0] > 0;
      view.coords.insert(view.coords.end(), {static_cast<float>(known ? space.x + x * space.pixel[0] : unknown),
                                             static_cast<float>(known ? space.y + y * space.pixel[1] : unknown), 0, 0});
      view.grid.insert(view.grid.end(), {static_cast<std::int32_t>(row), static_cast<std::int32_t>(column)});
    }
  }
  return view;
}

std::vector<PatchView> PictureRecipe::make(Sample sample, const Draw& draw) const {
  if (sample.shape.size() != 3 || sample.shape[2] != 3 || sample.pixels.size() != static_cast<std::size_t>(3 * sample.shape[0] * sample.shape[1]))
    throw ValueError("this recipe takes pictures [height, width, 3]");
  Philox random(draw, Stream::kPicture, /*many=*/true);
  const auto picture = std::make_shared<const Sample>(std::move(sample));
  std::vector<PatchView> views;
  for (const auto& how : options_.views)
    for (std::int64_t i = 0; i < how.count; ++i) views.push_back(view(picture, how, random));
  if (options_.mask == MaskMode::kNone) return views;
  auto& masked = views.front();
  masking::Mask mask;
  if (is_multiblock(options_.mask)) {
    const auto side = options_.views[0].frame.size / options_.patch;
    const auto placement = options_.mask == MaskMode::kMultiblockExact ? masking::Placement::kExact : masking::Placement::kUnbiased;
    const masking::MultiblockMask blocks(side, side, placement, {draw.seed, draw.epoch, draw.batch});
    mask = blocks.draw(draw);
    masked.blocks = static_cast<std::int32_t>(blocks.targets());
  } else if (options_.mask == MaskMode::kBernoulli) {
    mask = masking::bernoulli_mask(masked.count, options_.ratio, draw);
  } else {
    mask = masking::random_mask(masked.count, masking::keep_count(masked.count, options_.ratio), draw);
  }
  masked.keep = std::move(mask.keep);
  masked.masked = std::move(mask.masked);
  if (options_.complementary) {
    views.push_back(views.front());
    std::swap(views.front().keep, views.front().masked);
  }
  return views;
}

}  // namespace sslmed::data
