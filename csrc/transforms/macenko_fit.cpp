// Macenko's separation in a few passes over the bytes: densities are looked up and laid out colour by colour, so that what is computed of them is vectors.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "core/simd.h"
#include "transforms/byte_tables.h"
#include "transforms/density.h"
#include "transforms/planes.h"
#include "transforms/stain.h"
#include "transforms/symmetric.h"

namespace sslmed::transforms {
namespace {

using Densities = PlanesOf<double>;

constexpr std::int64_t kSide = 8;  // sums side by side: one would be added to in turn

// Pixels of tissue, one after the other; how many. All are written and only those kept: a branch would be guessed wrongly at every edge.
std::int64_t tissue_of(const std::uint8_t* rgb, std::int64_t pixels, std::uint8_t* into) {
  const auto& light = light_of_bytes();
  const std::uint8_t* begin = into;
  for (std::int64_t i = 0; i < pixels; ++i) {
    const std::uint8_t r = rgb[3 * i], g = rgb[3 * i + 1], b = rgb[3 * i + 2];
    into[0] = r;
    into[1] = g;
    into[2] = b;
    into += is_tissue_light(light[r], light[g], light[b]) ? 3 : 0;
  }
  return (into - begin) / 3;
}

void look_up(const std::uint8_t* rgb, std::int64_t n, Densities& od) {
  const auto& density = densities_of_bytes();
  for (std::int64_t i = 0; i < n; ++i) {
    od.r[i] = density[rgb[3 * i]];
    od.g[i] = density[rgb[3 * i + 1]];
    od.b[i] = density[rgb[3 * i + 2]];
  }
}

// Sums of x - about, and of their products: r, g, b, rr, rg, rb, gg, gb, bb. n is a multiple of kSide.
SSLMED_CLONES void add_moments(const Densities& od, std::int64_t n, const double* about, double (*sums)[kSide]) {
  double own[9][kSide] = {};
  for (std::int64_t i = 0; i < n; i += kSide) {
    for (std::int64_t k = 0; k < kSide; ++k) {
      const double r = od.r[i + k] - about[0], g = od.g[i + k] - about[1], b = od.b[i + k] - about[2];
      own[0][k] += r;
      own[1][k] += g;
      own[2][k] += b;
      own[3][k] += r * r;
      own[4][k] += r * g;
      own[5][k] += r * b;
      own[6][k] += g * g;
      own[7][k] += g * b;
      own[8][k] += b * b;
    }
  }
  for (std::size_t s = 0; s < 9; ++s)
    for (std::size_t k = 0; k < kSide; ++k) sums[s][k] += own[s][k];
}

// In the order of atan2(y, x), within [-2, 2], without its cost.
SSLMED_CLONES void orders_of(const Densities& od, std::int64_t n, const double* along, const double* beside, double* orders) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double x = along[0] * od.r[i] + along[1] * od.g[i] + along[2] * od.b[i], y = beside[0] * od.r[i] + beside[1] * od.g[i] + beside[2] * od.b[i];
    const double part = y / (std::abs(x) + std::abs(y) + std::numeric_limits<double>::min());
    // x < 0: what is left to a half turn. By signs, since the choice between two doubles would not become vector instructions.
    const double left = 0.5 * (1 - std::copysign(1.0, x));
    orders[i] = part + left * (std::copysign(2.0, y) - 2 * part);
  }
}

double angle_of(double order) {
  const bool ahead = std::abs(order) <= 1;
  const double part = ahead ? order : std::copysign(2.0, order) - order;
  return std::atan2(part, (ahead ? 1 : -1) * (1 - std::abs(part)));
}

SSLMED_CLONES void mix(const Densities& od, std::int64_t n, const double* by, double* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = by[0] * od.r[i] + by[1] * od.g[i] + by[2] * od.b[i];
}

// The same for all pictures of a thread, because fresh pages cost more than what is written to them; but not for ever what a whole slide took.
struct Memory {
  std::vector<std::uint8_t> tissue;
  std::vector<double> values;
};
constexpr std::int64_t kKept = 1 << 20;  // pixels

// Values within known bounds, and how many there are in each part of them: a percentile then sorts the few that it can be, which is several times as
// fast as to sort all, even in part.
class Ranked {
 public:
  Ranked(double low, double high, std::int64_t n, std::vector<double>& values) : start_(low), scale_((kBins - 1) / (high - low)), values_(values) {
    values_.resize(static_cast<std::size_t>(n));
    counts_.fill(0);
  }
  double* at(std::int64_t i) { return values_.data() + i; }
  void count(std::int64_t first, std::int64_t n) {
    const double* value = at(first);
    for (std::int64_t i = 0; i < n; ++i) ++counts_[bin_of(value[i])];
  }

  // The values beside the place of a percentile, and how far between them it lies, as NumPy has it.
  struct Beside {
    double low, next, fraction;
  };
  Beside beside(double share) const {
    const auto rank = rank_of(share, static_cast<std::int64_t>(values_.size()));
    auto low = static_cast<std::size_t>(rank.low);
    std::size_t first = 0, before = 0;
    while (before + counts_[first] <= low) before += counts_[first++];
    std::size_t last = first, among = counts_[first];
    while (before + among <= low + 1 && last + 1 < counts_.size()) among += counts_[++last];  // the next one may be in a later part
    std::vector<double> few;
    few.reserve(among);
    for (const double value : values_)
      if (const auto bin = bin_of(value); bin >= first && bin <= last) few.push_back(value);
    low -= before;
    const auto place = few.begin() + static_cast<std::ptrdiff_t>(low);
    std::nth_element(few.begin(), place, few.end());
    if (low + 1 >= few.size()) return {*place, *place, 0};
    return {*place, *std::min_element(place + 1, few.end()), rank.fraction};
  }

 private:
  static constexpr int kBins = 4096;

  std::size_t bin_of(double value) const { return static_cast<std::size_t>(static_cast<std::int32_t>((value - start_) * scale_)); }

  double start_, scale_;
  std::vector<double>& values_;
  std::array<std::uint32_t, static_cast<std::size_t>(kBins)> counts_;
};

double between(double low, double next, double fraction) { return low + fraction * (next - low); }

// The directions in which tissue's densities differ most; nothing where it is of one colour.
std::optional<std::array<Vector3, 2>> plane_of(const std::uint8_t* tissue, std::int64_t n) {
  Densities od;
  look_up(tissue, 1, od);
  const Vector3 about{od.r[0], od.g[0], od.b[0]};
  double sums[9][kSide] = {};
  for (std::int64_t first = 0; first < n; first += kBlock) {
    const auto here = std::min(kBlock, n - first), whole = (here + kSide - 1) / kSide * kSide;
    look_up(tissue + 3 * first, here, od);
    for (auto i = here; i < whole; ++i) od.r[i] = about[0], od.g[i] = about[1], od.b[i] = about[2];
    add_moments(od, whole, about.data(), sums);
  }
  std::array<double, 9> total{};
  for (std::size_t s = 0; s < 9; ++s)
    for (const double value : sums[s]) total[s] += value;
  const auto covariance_of = [&](std::size_t product, std::size_t a, std::size_t b) {
    return (total[product] - total[a] * total[b] / static_cast<double>(n)) / static_cast<double>(n - 1);
  };
  const double rg = covariance_of(4, 0, 1), rb = covariance_of(5, 0, 2), gb = covariance_of(7, 1, 2);
  const auto [values, vectors] = symmetric_eigen({covariance_of(3, 0, 0), rg, rb, rg, covariance_of(6, 1, 1), gb, rb, gb, covariance_of(8, 2, 2)}, 3);
  std::array<std::size_t, 3> order{0, 1, 2};
  std::sort(order.begin(), order.end(), [&v = values](std::size_t a, std::size_t b) { return v[a] > v[b]; });
  if (!(values[order[1]] > kFlat)) return std::nullopt;
  std::array<Vector3, 2> plane{};
  for (std::size_t k = 0; k < 2; ++k) {
    for (std::size_t c = 0; c < 3; ++c) plane[k][c] = vectors[3 * c + order[k]];
    if (plane[k][0] < 0)
      for (auto& value : plane[k]) value = -value;
  }
  return plane;
}

}  // namespace

std::optional<Stains> macenko_fit(const std::uint8_t* rgb, std::int64_t pixels) {
  thread_local Memory kept;
  Memory own;
  auto& [tissue, values] = pixels <= kKept ? kept : own;
  tissue.resize(static_cast<std::size_t>(3 * pixels + 3));
  const auto n = tissue_of(rgb, pixels, tissue.data());
  if (n < kFewestTissue || static_cast<double>(n) < kLeastTissue * static_cast<double>(pixels)) return std::nullopt;
  const auto plane = plane_of(tissue.data(), n);
  if (!plane) return std::nullopt;
  Densities od;
  Ranked orders(-2, 2, n, values);
  for (std::int64_t first = 0; first < n; first += kBlock) {
    const auto here = std::min(kBlock, n - first);
    look_up(tissue.data() + 3 * first, here, od);
    orders_of(od, here, (*plane)[0].data(), (*plane)[1].data(), orders.at(first));
    orders.count(first, here);
  }
  Stains stains{};
  std::array<double, 2> ends{};
  for (std::size_t k = 0; k < 2; ++k) {
    const auto [low, next, fraction] = orders.beside(k == 0 ? kFirstEnd : kLastEnd);
    ends[k] = between(angle_of(low), angle_of(next), fraction);
    double length = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      stains.vectors[k][c] = std::cos(ends[k]) * (*plane)[0][c] + std::sin(ends[k]) * (*plane)[1][c];
      length += stains.vectors[k][c] * stains.vectors[k][c];
    }
    for (auto& value : stains.vectors[k]) value /= std::sqrt(length);
  }
  if (ends[1] - ends[0] < kLeastAngle) return std::nullopt;
  // Haematoxylin takes more of the red light.
  if (stains.vectors[0][0] < stains.vectors[1][0]) std::swap(stains.vectors[0], stains.vectors[1]);
  std::array<Vector3, 2> by{};
  unmix(stains.vectors, by);
  for (std::size_t k = 0; k < 2; ++k) {
    double bound = 0;
    for (const double value : by[k]) bound += std::abs(value) * densities_of_bytes()[0];
    Ranked densities(-bound, bound, pixels, values);
    for (std::int64_t first = 0; first < pixels; first += kBlock) {
      const auto here = std::min(kBlock, pixels - first);
      look_up(rgb + 3 * first, here, od);
      mix(od, here, by[k].data(), densities.at(first));
      densities.count(first, here);
    }
    const auto [low, next, fraction] = densities.beside(kLastEnd);
    stains.most[k] = between(low, next, fraction);
    if (!(stains.most[k] > kLeastDensity)) return std::nullopt;
  }
  return stains;
}

}  // namespace sslmed::transforms
