#pragma once
// Pixels colour by colour, a block at a time, so that vector registers hold one colour of many. For loops compiled for several instruction sets.

#include <algorithm>
#include <cstdint>

#include "core/simd.h"
#include "transforms/pixel.h"

namespace sslmed::transforms {

constexpr std::int64_t kBlock = 256;  // pixels
template <class Value>
struct PlanesOf {
  alignas(64) Value r[kBlock], g[kBlock], b[kBlock];
};
using Planes = PlanesOf<float>;

template <class Value>
SSLMED_INLINE void part(const std::uint8_t* rgb, std::int64_t n, PlanesOf<Value>& planes) {
  for (std::int64_t i = 0; i < n; ++i) {
    planes.r[i] = static_cast<Value>(rgb[3 * i]);
    planes.g[i] = static_cast<Value>(rgb[3 * i + 1]);
    planes.b[i] = static_cast<Value>(rgb[3 * i + 2]);
  }
}

SSLMED_INLINE void join(const Planes& planes, std::int64_t n, std::uint8_t* rgb) {
  alignas(64) std::uint8_t r[kBlock], g[kBlock], b[kBlock];
  for (std::int64_t i = 0; i < n; ++i) r[i] = rounded_byte(planes.r[i]);
  for (std::int64_t i = 0; i < n; ++i) g[i] = rounded_byte(planes.g[i]);
  for (std::int64_t i = 0; i < n; ++i) b[i] = rounded_byte(planes.b[i]);
  for (std::int64_t i = 0; i < n; ++i) {
    rgb[3 * i] = r[i];
    rgb[3 * i + 1] = g[i];
    rgb[3 * i + 2] = b[i];
  }
}

}  // namespace sslmed::transforms
