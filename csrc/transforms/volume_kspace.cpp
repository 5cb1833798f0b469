#include "transforms/volume_kspace.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "core/error.h"
#include "core/simd.h"

namespace sslmed::transforms {
namespace {

// Lines side by side, in two registers of AVX2.
typedef float LineLanes __attribute__((vector_size(32), aligned(32)));
constexpr std::int64_t kLines = 16;
constexpr std::int64_t kRowsAtOnce = 6;  // of a matrix, whose sums and one line fill the sixteen registers

std::int64_t whole_groups(std::int64_t rows) { return (rows + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce; }

// y [rows, kLines] += matrix [rows, k] · x [k, kLines]; rows in whole groups.
SSLMED_CLONES void multiply_lines(const float* matrix, std::int64_t rows, std::int64_t k, const float* x, float* y) {
  for (std::int64_t r = 0; r < rows; r += kRowsAtOnce) {
    const float* m = matrix + r * k;
    float* out = y + r * kLines;
    LineLanes sums[2 * kRowsAtOnce];
    __builtin_memcpy(sums, out, sizeof sums);
    for (std::int64_t t = 0; t < k; ++t) {
      LineLanes a, b;
      __builtin_memcpy(&a, x + t * kLines, sizeof a);
      __builtin_memcpy(&b, x + t * kLines + kLines / 2, sizeof b);
      for (int i = 0; i < kRowsAtOnce; ++i) {
        sums[2 * i] += m[i * k + t] * a;
        sums[2 * i + 1] += m[i * k + t] * b;
      }
    }
    __builtin_memcpy(out, sums, sizeof sums);
  }
}

// A circular convolution with an even kernel maps even lines to even ones and odd lines to odd ones: two matrices of half the size.
struct EvenFilter {
  std::vector<float> even, odd;  // [whole_groups(n / 2 + 1), n / 2 + 1], [whole_groups((n - 1) / 2), (n - 1) / 2]
};

std::vector<double> even_kernel(const std::vector<double>& shares) {
  const auto n = static_cast<std::int64_t>(shares.size());
  std::vector<double> cosines(shares.size()), kernel(shares.size());
  for (std::size_t i = 0; i < shares.size(); ++i) cosines[i] = std::cos(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(n));
  for (std::int64_t d = 0; d < n; ++d) {
    double sum = 0;
    for (std::int64_t k = 0; k < n; ++k)
      if (const double share = shares[static_cast<std::size_t>(k)]; share != 0) sum += share * cosines[static_cast<std::size_t>((k - n / 2 + n) * d % n)];
    kernel[static_cast<std::size_t>(d)] = sum / static_cast<double>(n);
  }
  return kernel;
}

EvenFilter filter_of(const std::vector<double>& shares) {
  const auto kernel = even_kernel(shares);
  const auto n = static_cast<std::int64_t>(shares.size()), evens = n / 2 + 1, odds = (n - 1) / 2;
  const auto at = [&](std::int64_t d) { return kernel[static_cast<std::size_t>((d % n + n) % n)]; };
  EvenFilter out{std::vector<float>(static_cast<std::size_t>(whole_groups(evens) * evens)),
                 std::vector<float>(static_cast<std::size_t>(whole_groups(odds) * odds))};
  for (std::int64_t t = 0; t < evens; ++t)
    for (std::int64_t u = 0; u < evens; ++u) {
      const bool alone = u == 0 || 2 * u == n;
      out.even[static_cast<std::size_t>(t * evens + u)] = static_cast<float>(alone ? at(t - u) : at(t - u) + at(t + u));
    }
  for (std::int64_t t = 1; t <= odds; ++t)
    for (std::int64_t u = 1; u <= odds; ++u) out.odd[static_cast<std::size_t>((t - 1) * odds + u - 1)] = static_cast<float>(at(t - u) - at(t + u));
  return out;
}

// Up to kLines lines of a volume: places `step` apart along a line, lines `beside` apart.
struct LineBlock {
  std::int64_t first, step, beside, count;
};

SSLMED_CLONES void read_lines(const float* values, const LineBlock& block, std::int64_t n, float* into) {
  const float* from = values + block.first;
  if (block.beside == 1 && block.count == kLines) {
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t l = 0; l < kLines; ++l) into[t * kLines + l] = from[t * block.step + l];
    return;
  }
  for (std::int64_t l = 0; l < kLines; ++l) {
    const float* line = from + std::min(l, block.count - 1) * block.beside;  // spare lanes repeat the last line
    for (std::int64_t t = 0; t < n; ++t) into[t * kLines + l] = line[t * block.step];
  }
}

SSLMED_CLONES void write_lines(const float* from, const LineBlock& block, std::int64_t n, float* values) {
  float* to = values + block.first;
  if (block.beside == 1 && block.count == kLines) {
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t l = 0; l < kLines; ++l) to[t * block.step + l] = from[t * kLines + l];
    return;
  }
  for (std::int64_t l = 0; l < block.count; ++l)
    for (std::int64_t t = 0; t < n; ++t) to[l * block.beside + t * block.step] = from[t * kLines + l];
}

// The even and the odd part of lines, [n / 2 + 1, kLines] and [(n - 1) / 2, kLines].
SSLMED_CLONES void split_lines(const float* lines, std::int64_t n, float* even, float* odd) {
  for (std::int64_t t = 0; t <= n / 2; ++t) {
    const float *one = lines + t * kLines, *mirror = lines + (t == 0 ? 0 : n - t) * kLines;
    for (std::int64_t l = 0; l < kLines; ++l) even[t * kLines + l] = 0.5F * (one[l] + mirror[l]);
  }
  for (std::int64_t t = 1; t <= (n - 1) / 2; ++t) {
    const float *one = lines + t * kLines, *mirror = lines + (n - t) * kLines;
    for (std::int64_t l = 0; l < kLines; ++l) odd[(t - 1) * kLines + l] = 0.5F * (one[l] - mirror[l]);
  }
}

SSLMED_CLONES void subtract_lines(const float* own, std::int64_t n, float* other) {
  for (std::int64_t i = 0; i < n * kLines; ++i) other[i] -= own[i];
}

SSLMED_CLONES void join_lines(const float* even, const float* odd, std::int64_t n, float* own) {
  for (std::int64_t l = 0; l < kLines; ++l) own[l] += even[l];
  if (n % 2 == 0)
    for (std::int64_t l = 0; l < kLines; ++l) own[n / 2 * kLines + l] += even[n / 2 * kLines + l];
  for (std::int64_t t = 1; t <= (n - 1) / 2; ++t) {
    float *one = own + t * kLines, *mirror = own + (n - t) * kLines;
    const float *e = even + t * kLines, *o = odd + (t - 1) * kLines;
    for (std::int64_t l = 0; l < kLines; ++l) one[l] += e[l] + o[l];
    for (std::int64_t l = 0; l < kLines; ++l) mirror[l] += e[l] - o[l];
  }
}

class SpectrumMixer {
 public:
  SpectrumMixer(const FloatVolume& volume, std::int64_t n, const std::vector<SpectrumPart>& parts)
      : volume_(volume), parts_(parts), n_(n), evens_(n / 2 + 1), odds_((n - 1) / 2) {
    for (const auto& part : parts) filters_.push_back(filter_of(part.shares));
    const auto lines = [](std::int64_t places) { return std::vector<float>(static_cast<std::size_t>(places * kLines)); };
    own_ = lines(n);
    other_ = lines(n);
    even_ = lines(evens_);
    odd_ = lines(odds_);
    even_sums_ = lines(whole_groups(evens_));
    odd_sums_ = lines(whole_groups(odds_));
  }

  void run(const LineBlock& block) {
    read_lines(volume_.values, block, n_, own_.data());
    std::fill(even_sums_.begin(), even_sums_.end(), 0.0F);
    std::fill(odd_sums_.begin(), odd_sums_.end(), 0.0F);
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const float* values = parts_[i].values;
      if (values != nullptr) {
        read_lines(values, block, n_, other_.data());
      } else {
        std::fill(other_.begin(), other_.end(), 0.0F);
      }
      subtract_lines(own_.data(), n_, other_.data());
      split_lines(other_.data(), n_, even_.data(), odd_.data());
      multiply_lines(filters_[i].even.data(), whole_groups(evens_), evens_, even_.data(), even_sums_.data());
      multiply_lines(filters_[i].odd.data(), whole_groups(odds_), odds_, odd_.data(), odd_sums_.data());
    }
    join_lines(even_sums_.data(), odd_sums_.data(), n_, own_.data());
    write_lines(own_.data(), block, n_, volume_.values);
  }

 private:
  const FloatVolume& volume_;
  const std::vector<SpectrumPart>& parts_;
  std::int64_t n_, evens_, odds_;
  std::vector<EvenFilter> filters_;
  std::vector<float> own_, other_, even_, odd_, even_sums_, odd_sums_;
};

std::int64_t axis_length(const FloatVolume& volume, int axis) {
  require(axis >= 0 && axis <= 2, "axis", axis, "must be 0, 1 or 2");
  return volume.shape[static_cast<std::size_t>(axis)];
}

}  // namespace

void mix_spectra(const FloatVolume& volume, int axis, const std::vector<SpectrumPart>& parts) {
  const auto n = axis_length(volume, axis);
  if (volume.size() == 0 || parts.empty()) return;
  SpectrumMixer mixer(volume, n, parts);
  const auto [nx, ny, nz] = volume.shape;
  // Along z lines lie one after the other; else they lie side by side within one plane along x, or one row along y.
  if (axis == 2) {
    for (std::int64_t l = 0; l < nx * ny; l += kLines) mixer.run({l * nz, 1, nz, std::min(kLines, nx * ny - l)});
    return;
  }
  const auto outer = axis == 0 ? 1 : nx, beside = axis == 0 ? ny * nz : nz;
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t l = 0; l < beside; l += kLines) mixer.run({o * ny * nz + l, beside, 1, std::min(kLines, beside - l)});
}

void volume_ghosting(const FloatVolume& volume, const GhostingPlan& plan) {
  const auto n = axis_length(volume, plan.axis);
  require(plan.ghosts >= 0, "ghosts", plan.ghosts, "must be at least 0");
  require(plan.intensity >= 0 && std::isfinite(plan.intensity), "intensity", plan.intensity, "must be a number of at least 0");
  require(plan.restore <= 1, "restore", plan.restore, "must be a share of k-space, at most 1");
  if (plan.ghosts == 0 || plan.intensity == 0) return;
  std::vector<double> shares(static_cast<std::size_t>(n), 0.0);
  for (std::int64_t k = 0; k < n; k += plan.ghosts) shares[static_cast<std::size_t>(k)] = plan.intensity;
  std::int64_t first = n / 2, last = n / 2 + 1;
  if (plan.restore >= 0) {
    const auto half = static_cast<std::int64_t>(std::nearbyint(plan.restore * static_cast<double>(n))) / 2;
    first = n / 2 - half;
    last = n / 2 + half;
  }
  std::fill(shares.begin() + first, shares.begin() + last, 0.0);
  mix_spectra(volume, plan.axis, {{nullptr, shares}});
}

void volume_motion(const FloatVolume& volume, const MotionPlan& plan) {
  const auto n = axis_length(volume, plan.axis);
  double before = 0;
  for (const auto& movement : plan.movements) {
    require(movement.time >= before && movement.time <= 1, "times", movement.time, "must be within 0 and 1, in order");
    before = movement.time;
  }
  if (plan.movements.empty() || volume.size() == 0) return;
  require(volume.size() < (std::int64_t{1} << 31), "voxels", volume.size(), "must be fewer than 2^31");
  auto center = plan.center;
  for (std::size_t a = 0; plan.about_center && a < 3; ++a) center[a] = 0.5 * static_cast<double>(volume.shape[a] - 1) * volume.spacing[a];
  const float fill = extremes(volume.values, volume.size()).low;
  // The central slab, the first one that ends beyond the middle, keeps the volume as it is; the first slab takes what would have been there.
  const auto slabs = plan.movements.size() + 1;
  std::size_t central = slabs - 1;
  for (std::size_t i = plan.movements.size(); i-- > 0;)
    if (plan.movements[i].time > 0.5) central = i;
  thread_local std::vector<float> moved;
  const auto size = static_cast<std::size_t>(volume.size());
  moved.resize(size * plan.movements.size());
  std::vector<SpectrumPart> parts;
  for (std::size_t slab = 0; slab < slabs; ++slab) {
    const std::size_t source = slab == central ? 0 : slab == 0 ? central : slab;  // 0: unmoved; i: after movement i - 1
    if (source == 0) continue;
    float* into = moved.data() + (source - 1) * size;
    move_rigidly(volume, plan.movements[source - 1], center, fill, into);
    const auto edge = [&](std::size_t i) { return i < plan.movements.size() ? static_cast<std::int64_t>(static_cast<double>(n) * plan.movements[i].time) : n; };
    std::vector<double> shares(static_cast<std::size_t>(n), 0.0);
    std::fill(shares.begin() + (slab == 0 ? 0 : edge(slab - 1)), shares.begin() + edge(slab), 1.0);
    parts.push_back({into, shares});
  }
  mix_spectra(volume, plan.axis, parts);
}

}  // namespace sslmed::transforms
