#include "ops/cpu/exp_rows.h"

#include <bit>
#include <cmath>

#include "core/simd.h"

namespace sslmed::ops::cpu {
namespace {

// Sums and maxima side by side, because one in a single variable is no loop of vectors.
constexpr std::int64_t kSide = 32;

// Relative error below 2e-7 within [-87, 88]: powers of two, and Cephes' polynomial for what is left.
SSLMED_INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, which is then in the last bits
  const float shifted = x * 1.44269504088896341f + kRound, whole = shifted - kRound;
  const float r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float power = std::bit_cast<float>((std::bit_cast<std::int32_t>(shifted) - 0x4B400000 + 127) << 23);
  return (p * (r * r) + r + 1.0f) * power;
}

SSLMED_INLINE double exponential(double x) { return std::exp(x); }

template <class T>
SSLMED_INLINE T max_over(const T* x, std::int64_t n) {
  T side[kSide];
  for (std::int64_t k = 0; k < kSide; ++k) side[k] = x[0];
  std::int64_t i = 0;
  for (; i + kSide <= n; i += kSide)
    for (std::int64_t k = 0; k < kSide; ++k) side[k] = x[i + k] > side[k] ? x[i + k] : side[k];
  for (; i < n; ++i) side[0] = x[i] > side[0] ? x[i] : side[0];
  for (std::int64_t k = 1; k < kSide; ++k) side[0] = side[k] > side[0] ? side[k] : side[0];
  return side[0];
}

template <class T>
SSLMED_INLINE T folded(T* side) {
  for (std::int64_t half = kSide / 2; half > 0; half /= 2)
    for (std::int64_t k = 0; k < half; ++k) side[k] += side[k + half];
  return side[0];
}

template <class T>
SSLMED_INLINE T exp_sum_over(const T* x, std::int64_t n, T scale, T less) {
  T side[kSide] = {};
  std::int64_t i = 0;
  for (; i + kSide <= n; i += kSide)
    for (std::int64_t k = 0; k < kSide; ++k) side[k] += exponential(x[i + k] * scale - less);
  for (; i < n; ++i) side[0] += exponential(x[i] * scale - less);
  return folded(side);
}

template <class T>
SSLMED_INLINE void add_product_over(const T* x, const T* y, std::int64_t n, double& product, double& mass) {
  T products[kSide] = {}, masses[kSide] = {};
  std::int64_t i = 0;
  for (; i + kSide <= n; i += kSide) {
    for (std::int64_t k = 0; k < kSide; ++k) {
      products[k] += x[i + k] * y[i + k];
      masses[k] += y[i + k];
    }
  }
  for (; i < n; ++i) {
    products[0] += x[i] * y[i];
    masses[0] += y[i];
  }
  product += static_cast<double>(folded(products));
  mass += static_cast<double>(folded(masses));
}

template <class T>
SSLMED_INLINE void exp_into_row(const T* x, std::int64_t n, T scale, T less, T factor, T* into) {
  SSLMED_SAME_PLACES
  for (std::int64_t i = 0; i < n; ++i) into[i] = factor * exponential(x[i] * scale - less);
}

template <class T>
SSLMED_INLINE void exps_into_row(const T* x, std::int64_t n, T scale, const T* less_of, const T* factors, T* into) {
  SSLMED_SAME_PLACES
  for (std::int64_t i = 0; i < n; ++i) into[i] = factors[i] * exponential(x[i] * scale - less_of[i]);
}

template <class T>
SSLMED_INLINE void two_exps_into_row(const T* x, std::int64_t n, T scale, T less, T factor, const T* less_of, const T* factors, T* into) {
  SSLMED_SAME_PLACES
  for (std::int64_t i = 0; i < n; ++i) {
    const T value = x[i] * scale;
    into[i] = factor * exponential(value - less) + factors[i] * exponential(value - less_of[i]);
  }
}

template <class T>
SSLMED_INLINE void subtract_row(const T* x, std::int64_t n, T factor, T* into) {
  SSLMED_SAME_PLACES
  for (std::int64_t i = 0; i < n; ++i) into[i] -= factor * x[i];
}

}  // namespace

SSLMED_CLONES float max_of(const float* x, std::int64_t n) { return max_over(x, n); }
SSLMED_CLONES double max_of(const double* x, std::int64_t n) { return max_over(x, n); }
SSLMED_CLONES float exp_sum(const float* x, std::int64_t n, float scale, float less) { return exp_sum_over(x, n, scale, less); }
double exp_sum(const double* x, std::int64_t n, double scale, double less) { return exp_sum_over(x, n, scale, less); }
SSLMED_CLONES void exp_into(const float* x, std::int64_t n, float scale, float less, float factor, float* into) {
  exp_into_row(x, n, scale, less, factor, into);
}
void exp_into(const double* x, std::int64_t n, double scale, double less, double factor, double* into) { exp_into_row(x, n, scale, less, factor, into); }
SSLMED_CLONES void two_exps_into(const float* x, std::int64_t n, float scale, float less, float factor, const float* less_of, const float* factors,
                                 float* into) {
  two_exps_into_row(x, n, scale, less, factor, less_of, factors, into);
}
void two_exps_into(const double* x, std::int64_t n, double scale, double less, double factor, const double* less_of, const double* factors, double* into) {
  two_exps_into_row(x, n, scale, less, factor, less_of, factors, into);
}
SSLMED_CLONES void exps_into(const float* x, std::int64_t n, float scale, const float* less_of, const float* factors, float* into) {
  exps_into_row(x, n, scale, less_of, factors, into);
}
void exps_into(const double* x, std::int64_t n, double scale, const double* less_of, const double* factors, double* into) {
  exps_into_row(x, n, scale, less_of, factors, into);
}
SSLMED_CLONES void add_product(const float* x, const float* y, std::int64_t n, double& product, double& mass) { add_product_over(x, y, n, product, mass); }
SSLMED_CLONES void add_product(const double* x, const double* y, std::int64_t n, double& product, double& mass) { add_product_over(x, y, n, product, mass); }
SSLMED_CLONES void subtract_scaled(const float* x, std::int64_t n, float factor, float* into) { subtract_row(x, n, factor, into); }
SSLMED_CLONES void subtract_scaled(const double* x, std::int64_t n, double factor, double* into) { subtract_row(x, n, factor, into); }

}  // namespace sslmed::ops::cpu
