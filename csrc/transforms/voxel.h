#pragma once
// What intensity transforms do to one voxel: the same formulas in the CPU's loops and in CUDA kernels. Those of values have no branches, so that
// loops over voxels become vector instructions. A voxel that is not finite stays or becomes NaN.

#include <cstdint>
#include <cstring>

#include "core/device.h"
#include "core/philox.h"

namespace sslmed::transforms {

SSLMED_FORMULA std::int32_t bits_of(float value) {
  std::int32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

SSLMED_FORMULA float float_of(std::int32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// 2^whole · e^r for a whole number within ±126 and |r| <= .35, to a few units of the last place.
SSLMED_FORMULA float scaled_exp(float whole, float r) {
  const float power = 1 + r * (1 + r * (0.5F + r * (0.166666667F + r * (0.0416666667F + r * (0.00833333333F + r * (0.00138888889F + r * 0.000198412698F))))));
  return power * float_of(static_cast<std::int32_t>((static_cast<std::uint32_t>(static_cast<std::int32_t>(whole)) + 127u) << 23));
}

// To the nearest whole number, of values within ±2^22: adding 3·2^22 leaves no bits behind the point.
SSLMED_FORMULA float rounded(float value) { return (value + 12582912.0F) - 12582912.0F; }

SSLMED_FORMULA float limited(float value, float low, float high) {
  const float raised = value < low ? low : value;
  return raised > high ? high : raised;
}

// e^x; the exponent is cut off at ±87, where float32 ends.
SSLMED_FORMULA float exp_of(float x) {
  const float bounded = limited(x, -87, 87);
  const float whole = rounded(bounded * 1.44269504F);
  // ln 2 in two parts, the first of few bits, so that what is left is exact.
  const float rest = (bounded - whole * 0.693359375F) + whole * 2.12194440e-4F;
  return scaled_exp(whole, rest) + 0 * x;
}

// log2 of a positive normal number as whole + rest, with 2^rest between about .7 and 1.4.
struct Log2 {
  float whole, rest;
};

SSLMED_FORMULA Log2 log2_of(float value) {
  const std::int32_t bits = bits_of(value);
  const std::int32_t exponent = (bits - 0x3f350000) >> 23;
  const float mantissa = float_of(bits - exponent * (1 << 23));
  const float s = (mantissa - 1) / (mantissa + 1), t = s * s;
  const float log = s * (2 + t * (0.666666667F + t * (0.4F + t * (0.285714286F + t * 0.222222222F))));
  return {static_cast<float>(exponent), log * 1.44269504F};
}

// An exponent in two parts, the first of 12 bits, so that its product with a whole number of 8 bits is exact.
struct Gamma {
  float high, low;
};

SSLMED_FORMULA Gamma gamma_of(float exponent) {
  const float high = float_of(bits_of(exponent) & static_cast<std::int32_t>(0xFFFFF000));
  return {high, exponent - high};
}

// sign(value) · |value|^gamma, for gamma > 0. What underflows becomes a number of about 1e-38.
SSLMED_FORMULA float gamma_changed(float value, Gamma gamma) {
  const std::int32_t bits = bits_of(value), magnitude = bits & 0x7FFFFFFF, sign = bits & static_cast<std::int32_t>(0x80000000);
  const Log2 log = log2_of(float_of(magnitude));
  const float exact = log.whole * gamma.high, more = log.whole * gamma.low + log.rest * (gamma.high + gamma.low);
  const float whole = rounded(limited(exact + more, -126, 127));
  const float rest = limited((exact - whole) + more, -0.5F, 0.5F);
  const std::int32_t power = bits_of(scaled_exp(whole, rest * 0.693147181F));
  return float_of((power & -static_cast<std::int32_t>(magnitude != 0)) | sign) + 0 * value;
}

// Square root of a number that is not negative: Newton's steps from a guess by the bits (Lomont, 2003). A call of sqrt would keep loops from becoming
// vectors, since it may set errno.
SSLMED_FORMULA float root_of(float value) {
  float inverse = float_of(0x5f375a86 - (bits_of(value) >> 1));
  const float half = 0.5F * value;
  inverse = inverse * (1.5F - half * inverse * inverse);
  inverse = inverse * (1.5F - half * inverse * inverse);
  inverse = inverse * (1.5F - half * inverse * inverse);
  return value * inverse;
}

// Two standard normal numbers of two random words (Box and Muller, 1958), from 24 bits of the radius and 32 of the angle.
struct NormalPair {
  float first, second;
};

SSLMED_FORMULA NormalPair normals_of(std::uint32_t radius_word, std::uint32_t angle_word) {
  // Uniform in (0, 1]; a radius is at most 5.8.
  const float u = (static_cast<float>(static_cast<std::int32_t>(radius_word >> 8)) + 1) * 5.9604644775390625e-8F;
  const Log2 log = log2_of(u);
  const float radius = root_of(-1.38629436F * (log.whole + log.rest));
  // The nearest quarter of a turn, and what is left of at most an eighth: sine and cosine of that by their series.
  const std::uint32_t quarter = (angle_word + 0x20000000u) >> 30;
  const float a = static_cast<float>(static_cast<std::int32_t>(angle_word - (quarter << 30))) * 1.4629180792671596e-9F, b = a * a;
  const float sine = a * (1 + b * (-0.166666667F + b * (0.00833333333F + b * (-0.000198412698F + b * 2.75573192e-6F))));
  const float cosine = 1 + b * (-0.5F + b * (0.0416666667F + b * (-0.00138888889F + b * 2.48015873e-5F)));
  const std::int32_t odd = -static_cast<std::int32_t>(quarter & 1u);
  const std::int32_t s = bits_of(sine), c = bits_of(cosine);
  const std::int32_t first = (s & odd) | (c & ~odd), second = (c & odd) | (s & ~odd);
  // cos(q + a): +cos, -sin, -cos, +sin; sin(q + a): +sin, +cos, -sin, -cos.
  const auto first_sign = static_cast<std::int32_t>(((quarter + 1) & 2u) << 30), second_sign = static_cast<std::int32_t>((quarter & 2u) << 30);
  return {radius * float_of(first ^ first_sign), radius * float_of(second ^ second_sign)};
}

// Noise is numbered by voxel: of every 64 voxels, the first 32 and the last 32 are pairs, made of the same words of 16 blocks of Philox.
constexpr std::int64_t kNoiseRun = 64;

// The polynomial of order 3 along z at one place (x, y), of 20 coefficients with the powers of z changing fastest, then those of y. The axes go from
// -1 to 1, from the first voxel's center to the last one's.
struct BiasRow {
  float c[4];
};

SSLMED_FORMULA double bias_place(std::int64_t i, std::int64_t n) {
  return n > 1 ? (2.0 * static_cast<double>(i) - static_cast<double>(n - 1)) / static_cast<double>(n - 1) : 0;
}

constexpr int kBiasCoefficients = 20;

SSLMED_FORMULA BiasRow bias_row(const double* coefficients, double x, double y) {
  double sums[4] = {0, 0, 0, 0};
  double x_power = 1;
  int at = 0;
  for (int i = 0; i <= 3; ++i) {
    double power = x_power;
    for (int j = 0; j <= 3 - i; ++j) {
      for (int k = 0; k <= 3 - i - j; ++k) sums[k] += coefficients[at++] * power;
      power *= y;
    }
    x_power *= x;
  }
  return {{static_cast<float>(sums[0]), static_cast<float>(sums[1]), static_cast<float>(sums[2]), static_cast<float>(sums[3])}};
}

SSLMED_FORMULA float bias_at(const BiasRow& row, float z) { return exp_of(row.c[0] + z * (row.c[1] + z * (row.c[2] + z * row.c[3]))); }

// Where a place beyond an edge is taken from: "d c b a | a b c d | d c b a", as SciPy's mode "reflect", however far it is.
SSLMED_FORMULA std::int64_t reflected(std::int64_t i, std::int64_t n) {
  if (i >= 0 && i < n) return i;
  const std::int64_t within = ((i % (2 * n)) + 2 * n) % (2 * n);
  return within < n ? within : 2 * n - 1 - within;
}

// Between the nodes of a random field: the cell and how far a place is in it, smoothly (3t² - 2t³), so that the field has no edges there.
struct FieldPlace {
  std::int64_t cell;
  float share;
};

SSLMED_FORMULA FieldPlace field_place(std::int64_t voxel, double nodes_per_voxel) {
  const double at = static_cast<double>(voxel) * nodes_per_voxel;
  const auto cell = static_cast<std::int64_t>(at);
  const auto t = static_cast<float>(at - static_cast<double>(cell));
  return {cell, t * t * (3 - 2 * t)};
}

// A label's entries in the tables of means and deviations: one for each part of its class.
struct ContrastRow {
  std::int32_t first, parts;
};

// In which of a class's parts a voxel lies: of equal shares under a normal field, nearly (a logistic curve stands for the normal one).
SSLMED_FORMULA std::int32_t contrast_part(float field, std::int32_t parts) {
  const auto part = static_cast<std::int32_t>(static_cast<float>(parts) / (1 + exp_of(-2.2F * field)));
  return part < parts ? part : parts - 1;
}

SSLMED_FORMULA float contrast_value(float mean, float std, float normal) {
  const float value = mean + std * normal;
  return value < 0 ? 0 : value;
}

}  // namespace sslmed::transforms
