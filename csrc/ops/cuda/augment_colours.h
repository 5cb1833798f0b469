#pragma once
// Colours of one picture, by a block of threads that work on it together: mean grey and Macenko's stains are of the whole picture. `Block` says how
// a block works: augment_kernel.cu has that of a GPU, the tests one that does everything in turn.
//
//   each(n, f)                  f(i) for all i < n, then all wait
//   once(f)                     one thread, then all wait
//   sums(n, double (&)[N], f)   f(i, add) adds to add[N]; the totals are there for all afterwards
//   nth(keys, n, k)             the k-th smallest of n floats, for all

#include "ops/cuda/augment_jobs.h"
#include "transforms/density.h"
#include "transforms/jacobi.h"
#include "transforms/pixel.h"

namespace sslmed::ops::cuda {

// Of one block.
struct ColourShared {
  float density[256];          // of a byte: that of the change at hand,
  double macenko[256];         // Macenko's,
  double light[256];           // and the light behind it
  float matrix[9], offset[3];  // of a change of densities
  double totals[6];
  double mean[3], plane[2][3], vectors[2][3], unmixed[2][3], most[2];
  std::int64_t tissue;
  bool found;
};

SSLMED_FORMULA bool is_tissue(const ColourShared& shared, const std::uint8_t* p) {
  return transforms::is_tissue_light(shared.light[p[0]], shared.light[p[1]], shared.light[p[2]]);
}

SSLMED_FORMULA void change_density(const ColourShared& shared, float less, std::uint8_t* p) {
  const float r = shared.density[p[0]], g = shared.density[p[1]], b = shared.density[p[2]];
  for (int c = 0; c < 3; ++c) {
    const float* m = shared.matrix + 3 * c;
    const float density = m[0] * r + m[1] * g + m[2] * b + shared.offset[c];
    constexpr auto kFar = static_cast<float>(transforms::kFarthestDensity);
    const float near = density > kFar ? kFar : density < -kFar ? -kFar : density;
    p[c] = transforms::rounded_byte(255.0F * std::exp(-near) - less);
  }
}

// Of the `counted` smallest of n.
template <class Block>
SSLMED_FORMULA double percentile(Block& block, const float* keys, std::int64_t n, std::int64_t counted, double share) {
  const auto rank = transforms::rank_of(share, counted);
  const double low = block.nth(keys, n, rank.low);
  return rank.low + 1 >= counted ? low : low + rank.fraction * (block.nth(keys, n, rank.low + 1) - low);
}

// As transforms::macenko_fit, into shared.vectors and shared.most; shared.found says whether there is anything to separate.
template <class Block>
SSLMED_FORMULA void fit_stains(Block& block, ColourShared& shared, const std::uint8_t* rgb, std::int64_t pixels, float* keys) {
  using namespace transforms;
  constexpr float kLast = 3e38F;  // sorts what is no tissue behind everything
  block.sums(pixels, shared.totals, [&](std::int64_t i, double* add) {
    const std::uint8_t* p = rgb + 3 * i;
    if (!is_tissue(shared, p)) return;
    for (int c = 0; c < 3; ++c) add[c] += shared.macenko[p[c]];
    add[3] += 1;
  });
  block.once([&] {
    shared.tissue = static_cast<std::int64_t>(shared.totals[3]);
    shared.found = shared.tissue >= kFewestTissue && shared.totals[3] >= kLeastTissue * static_cast<double>(pixels);
    for (int c = 0; c < 3; ++c) shared.mean[c] = shared.totals[c] / shared.totals[3];
  });
  if (!shared.found) return;
  block.sums(pixels, shared.totals, [&](std::int64_t i, double* add) {
    const std::uint8_t* p = rgb + 3 * i;
    if (!is_tissue(shared, p)) return;
    double d[3];
    for (int c = 0; c < 3; ++c) d[c] = shared.macenko[p[c]] - shared.mean[c];
    for (int a = 0, at = 0; a < 3; ++a)
      for (int b = a; b < 3; ++b) add[at++] += d[a] * d[b];
  });
  block.once([&] {
    const double* s = shared.totals;
    const auto n = static_cast<double>(shared.tissue - 1);
    double covariance[9] = {s[0] / n, s[1] / n, s[2] / n, s[1] / n, s[3] / n, s[4] / n, s[2] / n, s[4] / n, s[5] / n}, v[9];
    jacobi(covariance, v, 3);
    int order[3] = {0, 1, 2};
    for (int a = 0; a < 3; ++a)
      for (int b = a + 1; b < 3; ++b) {
        if (covariance[4 * order[b]] <= covariance[4 * order[a]]) continue;
        const int other = order[a];
        order[a] = order[b];
        order[b] = other;
      }
    shared.found = covariance[4 * order[1]] > kFlat;
    for (int k = 0; k < 2; ++k) {
      const double sign = v[order[k]] < 0 ? -1 : 1;
      for (int c = 0; c < 3; ++c) shared.plane[k][c] = sign * v[3 * c + order[k]];
    }
  });
  if (!shared.found) return;
  block.each(pixels, [&](std::int64_t i) {
    const std::uint8_t* p = rgb + 3 * i;
    double along[2] = {0, 0};
    for (int k = 0; k < 2; ++k)
      for (int c = 0; c < 3; ++c) along[k] += shared.macenko[p[c]] * shared.plane[k][c];
    keys[i] = is_tissue(shared, p) ? static_cast<float>(std::atan2(along[1], along[0])) : kLast;
  });
  const double ends[2] = {percentile(block, keys, pixels, shared.tissue, kFirstEnd), percentile(block, keys, pixels, shared.tissue, kLastEnd)};
  block.once([&] {
    shared.found = ends[1] - ends[0] >= kLeastAngle;
    for (int k = 0; k < 2; ++k) {
      double length = 0;
      for (int c = 0; c < 3; ++c) {
        shared.vectors[k][c] = std::cos(ends[k]) * shared.plane[0][c] + std::sin(ends[k]) * shared.plane[1][c];
        length += shared.vectors[k][c] * shared.vectors[k][c];
      }
      for (int c = 0; c < 3; ++c) shared.vectors[k][c] /= std::sqrt(length);
    }
    if (shared.vectors[0][0] < shared.vectors[1][0]) {  // haematoxylin takes more of the red light
      for (int c = 0; c < 3; ++c) {
        const double other = shared.vectors[0][c];
        shared.vectors[0][c] = shared.vectors[1][c];
        shared.vectors[1][c] = other;
      }
    }
    unmix(shared.vectors, shared.unmixed);
  });
  if (!shared.found) return;
  for (int k = 0; k < 2; ++k) {
    block.each(pixels, [&](std::int64_t i) {
      double density = 0;
      for (int c = 0; c < 3; ++c) density += shared.macenko[rgb[3 * i + c]] * shared.unmixed[k][c];
      keys[i] = static_cast<float>(density);
    });
    const double most = percentile(block, keys, pixels, pixels, kLastEnd);
    block.once([&] {
      shared.most[k] = most;
      if (!(most > kLeastDensity)) shared.found = false;
    });
  }
}

template <class Block>
SSLMED_FORMULA void change_stains(Block& block, ColourShared& shared, const AugmentJob& job, std::uint8_t* rgb, std::int64_t pixels, float* keys) {
  using namespace transforms;
  block.each(256, [&](std::int64_t v) {
    shared.macenko[v] = macenko_density(static_cast<double>(v));
    shared.density[v] = static_cast<float>(shared.macenko[v]);
    shared.light[v] = linear_light(static_cast<double>(v));
  });
  fit_stains(block, shared, rgb, pixels, keys);
  if (!shared.found) return;
  block.once([&] {
    for (int to = 0; to < 3; ++to) {
      double offset = 0, row[3] = {0, 0, 0};
      for (int k = 0; k < 2; ++k) {
        offset += job.plan.macenko_shift[k] * shared.vectors[k][to];
        for (int from = 0; from < 3; ++from) row[from] += shared.unmixed[k][from] * job.plan.macenko_scale[k] * shared.vectors[k][to];
      }
      shared.offset[to] = static_cast<float>(offset);
      for (int from = 0; from < 3; ++from) shared.matrix[3 * to + from] = static_cast<float>(row[from]);
    }
  });
  block.each(pixels, [&](std::int64_t i) {
    if (is_tissue(shared, rgb + 3 * i)) change_density(shared, 0, rgb + 3 * i);
  });
}

template <class Block>
SSLMED_FORMULA void step_colours(Block& block, ColourShared& shared, const transforms::ColourStep& step, std::uint8_t* rgb, std::int64_t pixels) {
  using namespace transforms;
  const auto factor = static_cast<float>(step.by);
  const auto grey_at = [&](std::int64_t i) { return grey_of(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]); };
  float other = 0;
  switch (step.what) {
    case Colour::kNone:
      return;
    case Colour::kContrast:
      block.sums(pixels, shared.totals, [&](std::int64_t i, double* add) { add[0] += grey_at(i); });
      other = static_cast<float>((1 - static_cast<double>(factor)) * (shared.totals[0] / static_cast<double>(pixels)));
      [[fallthrough]];
    case Colour::kBrightness:
      block.each(3 * pixels, [&](std::int64_t i) { rgb[i] = rounded_byte(factor * rgb[i] + other); });
      return;
    case Colour::kSaturation:
      block.each(pixels, [&](std::int64_t i) {
        const float grey = (1 - factor) * grey_at(i);
        for (int c = 0; c < 3; ++c) rgb[3 * i + c] = rounded_byte(factor * rgb[3 * i + c] + grey);
      });
      return;
    case Colour::kHue:
      block.each(pixels, [&](std::int64_t i) {
        std::uint8_t* p = rgb + 3 * i;
        float top, width;
        const float hue = turned_hue(p[0], p[1], p[2], static_cast<float>(6 * step.by), top, width);
        p[0] = rounded_byte(top - width * lacking(hue, 3));
        p[1] = rounded_byte(top - width * lacking(hue, 5));
        p[2] = rounded_byte(top - width * lacking(hue, 1));
      });
      return;
  }
}

template <class Block>
SSLMED_FORMULA void colours(Block& block, ColourShared& shared, const AugmentMemory& memory, const AugmentJob& job) {
  using namespace transforms;
  std::uint8_t* rgb = memory.rgb + job.rgb;
  const auto pixels = job.plan.size * job.plan.size;
  if (job.plan.macenko) change_stains(block, shared, job, rgb, pixels, memory.keys + job.keys);
  if (job.plan.hed) {
    block.each(256, [&](std::int64_t v) { shared.density[v] = static_cast<float>(hed_density(static_cast<double>(v))); });
    block.once([&] {
      for (int i = 0; i < 9; ++i) shared.matrix[i] = job.hed_matrix[i];
      for (int i = 0; i < 3; ++i) shared.offset[i] = job.hed_offset[i];
    });
    block.each(pixels, [&](std::int64_t i) { change_density(shared, static_cast<float>(255 * kDensityOffset), rgb + 3 * i); });
  }
  for (const auto& step : job.plan.steps) step_colours(block, shared, step, rgb, pixels);
  if (job.plan.grey) step_colours(block, shared, {Colour::kSaturation, 0}, rgb, pixels);
}

}  // namespace sslmed::ops::cuda
