#include "masking/multiblock_mask.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"

namespace sslmed::masking {
namespace {

constexpr double kSquare[2] = {1.0, 1.0};
constexpr int kContextTries = 20, kMaskTries = 50;

}  // namespace

MultiblockMask::MultiblockMask(std::int64_t rows, std::int64_t columns, Placement placement, const Draw& batch, const MultiblockOptions& options)
    : rows_(rows), columns_(columns), placement_(placement), options_(options) {
  const std::int64_t least = placement == Placement::kExact ? 2 : 1;
  if (rows < least || columns < least || rows > 65536 || columns > 65536 || rows * columns < 8)
    throw ValueError("multi-block masks need a grid of at least 8 cells" + std::string(least == 2 ? ", two rows and two columns" : "") + ", got " +
                     std::to_string(rows) + " x " + std::to_string(columns));
  if (options.targets < 1) throw ValueError("multi-block masks need at least one target");
  min_context_ = std::min(options.min_context, cells() / 8);
  Philox random(batch, Stream::kBlockSize);
  target_ = extent(options.target_scale, options.target_aspect, random.uniform());
  context_ = extent(options.context_scale, kSquare, random.uniform());
}

// Area and aspect come from one random number, as published.
MultiblockMask::Extent MultiblockMask::extent(const double scale[2], const double aspect[2], double random) const {
  const auto area = std::floor(static_cast<double>(cells()) * (scale[0] + random * (scale[1] - scale[0])));
  const double ratio = aspect[0] + random * (aspect[1] - aspect[0]);
  const std::int64_t border = placement_ == Placement::kExact ? 1 : 0;
  const auto fit = [&](double side, std::int64_t limit) {
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::nearbyint(side)), 1, limit - border);
  };
  return {fit(std::sqrt(area * ratio), rows_), fit(std::sqrt(area / ratio), columns_)};
}

std::int64_t MultiblockMask::place(std::int64_t extent, std::int64_t block, Philox& random) const {
  return random.below(static_cast<std::uint32_t>(extent - block + (placement_ == Placement::kExact ? 0 : 1)));
}

std::int64_t MultiblockMask::draw(const Draw& draw, std::int64_t* targets_out, std::int64_t* context_out) const {
  thread_local std::vector<std::uint8_t> is_target;
  Philox random(draw, Stream::kMask);
  for (int attempt = 0; attempt < kMaskTries; ++attempt) {
    is_target.assign(static_cast<std::size_t>(cells()), 0);
    auto* out = targets_out;
    for (std::int64_t t = 0; t < options_.targets; ++t) {
      const std::int64_t top = place(rows_, target_.rows, random), left = place(columns_, target_.columns, random);
      for (std::int64_t row = top; row < top + target_.rows; ++row) {
        const std::int64_t first = row * columns_ + left;
        std::memset(is_target.data() + first, 1, static_cast<std::size_t>(target_.columns));
        for (std::int64_t i = 0; i < target_.columns; ++i) *out++ = first + i;
      }
    }
    // Where targets cover nearly all of the context its place is drawn again, and then everything: never does it overlap a target.
    for (int context_attempt = 0; context_attempt < kContextTries; ++context_attempt) {
      const std::int64_t top = place(rows_, context_.rows, random), left = place(columns_, context_.columns, random);
      std::int64_t kept = 0;
      for (std::int64_t row = top; row < top + context_.rows; ++row) {
        for (std::int64_t cell = row * columns_ + left; cell < row * columns_ + left + context_.columns; ++cell) {
          context_out[kept] = cell;
          kept += 1 - is_target[static_cast<std::size_t>(cell)];
        }
      }
      if (kept > min_context_) return kept;
    }
  }
  throw ValueError("a grid of " + std::to_string(rows_) + " x " + std::to_string(columns_) + " leaves no context beside " + std::to_string(options_.targets) +
                   " targets of " + std::to_string(target_.rows) + " x " + std::to_string(target_.columns));
}

Mask MultiblockMask::draw(const Draw& named) const {
  std::vector<std::int64_t> blocks(static_cast<std::size_t>(targets() * target_size())), context(static_cast<std::size_t>(cells() + 1));
  context.resize(static_cast<std::size_t>(draw(named, blocks.data(), context.data())));
  return {{context.begin(), context.end()}, {blocks.begin(), blocks.end()}, static_cast<std::int32_t>(targets())};
}

}  // namespace sslmed::masking
