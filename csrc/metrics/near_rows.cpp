#include "metrics/near_rows.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace sslmed::metrics {
namespace {

constexpr std::int64_t kRows = 8, kCells = 32, kWord = 64;

}  // namespace

NearRows::NearRows(const Surface& surface, const Spacing& spacing) : cell_(spacing[2]) {
  const std::array<const std::vector<std::int32_t>*, 3> places = {&surface.x, &surface.y, &surface.z};
  for (std::size_t a = 0; a < 3; ++a) {
    const auto [low, high] = std::minmax_element(places[a]->begin(), places[a]->end());
    origin_[a] = *low;
    size_[a] = static_cast<std::int64_t>(*high) - *low + 1;
  }
  words_ = (size_[2] + kWord - 1) / kWord + 3;
  bits_.resize(static_cast<std::size_t>(size_[0] * size_[1] * words_));
  for (std::size_t i = 0; i < surface.size(); ++i) {
    const auto row = (surface.x[i] - origin_[0]) * size_[1] + surface.y[i] - origin_[1];
    const auto bit = surface.z[i] - origin_[2] + kWord;
    bits_[static_cast<std::size_t>(row * words_ + bit / kWord)] |= std::uint64_t{1} << (bit % kWord);
  }
  const double nearest = std::min({kRows * spacing[0], kRows * spacing[1], kCells * spacing[2]});
  frontier_ = nearest * nearest;
  for (std::int64_t x = 1 - kRows; x < kRows; ++x) {
    for (std::int64_t y = 1 - kRows; y < kRows; ++y) {
      const double down = static_cast<double>(x) * spacing[0], right = static_cast<double>(y) * spacing[1];
      const double squared = down * down + right * right;
      if (squared < frontier_) steps_.push_back({x, y, squared});
    }
  }
  std::sort(steps_.begin(), steps_.end(), [](const Step& a, const Step& b) { return a.squared < b.squared; });
}

int NearRows::steps_to(const std::uint64_t* row, std::int64_t z) const {
  const auto first = z - origin_[2] + kWord - kCells;
  const auto word = first / kWord, shift = first % kWord;
  if (first < 0 || word + 1 >= words_) return kWord;
  // Bit 32 is the cell itself.
  const std::uint64_t window = shift == 0 ? row[word] : row[word] >> shift | row[word + 1] << (kWord - shift);
  const auto after = window >> kCells, before = window << kCells;
  const int ahead = after == 0 ? kWord : std::countr_zero(after), behind = before == 0 ? kWord : std::countl_zero(before) + 1;
  return std::min(ahead, behind);
}

double NearRows::squared(std::int64_t x, std::int64_t y, std::int64_t z) const {
  double best = std::numeric_limits<double>::infinity();
  for (const auto& step : steps_) {
    if (step.squared >= best) return best;
    const auto row_x = x + step.x - origin_[0], row_y = y + step.y - origin_[1];
    if (row_x < 0 || row_y < 0 || row_x >= size_[0] || row_y >= size_[1]) continue;
    const int steps = steps_to(bits_.data() + (row_x * size_[1] + row_y) * words_, z);
    if (steps >= kWord) continue;
    const double along = steps * cell_;
    best = std::min(best, step.squared + along * along);
  }
  return best <= frontier_ ? best : -1;
}

}  // namespace sslmed::metrics
