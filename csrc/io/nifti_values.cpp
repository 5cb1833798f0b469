// Compiled without contraction to fused multiply-adds: slope * stored is rounded before the intercept is added.
#include "io/nifti_values.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

namespace sslmed::io {
namespace {

constexpr std::size_t kBlock = 1024;

template <class S>
using Block = std::array<S, kBlock>;

template <class S>
S swapped(S value) {
  if constexpr (sizeof(S) == 1) {
    return value;
  } else if constexpr (sizeof(S) == 2) {
    return std::bit_cast<S>(__builtin_bswap16(std::bit_cast<std::uint16_t>(value)));
  } else if constexpr (sizeof(S) == 4) {
    return std::bit_cast<S>(__builtin_bswap32(std::bit_cast<std::uint32_t>(value)));
  } else {
    return std::bit_cast<S>(__builtin_bswap64(std::bit_cast<std::uint64_t>(value)));
  }
}

template <class S>
void load(const std::uint8_t* stored, std::size_t n, bool swap, Block<S>& block) {
  std::memcpy(block.data(), stored, n * sizeof(S));
  if (!swap) return;
  for (std::size_t i = 0; i < n; ++i) block[i] = swapped(block[i]);
}

// Without an intercept -0 is added, which leaves every number as it is.
double added(double inter) { return inter == 0 ? -0.0 : inter; }

template <class S, class T>
bool put_whole(const S* from, std::size_t n, T* into) {
  bool good = true;
  for (std::size_t i = 0; i < n; ++i) {
    if constexpr (std::is_floating_point_v<S>) {
      const bool fits = from[i] >= S(-0x1p63) && from[i] < S(0x1p63) && std::trunc(from[i]) == from[i];
      const auto whole = fits ? static_cast<std::int64_t>(from[i]) : 0;
      good &= fits && std::in_range<T>(whole);
      into[i] = static_cast<T>(whole);
    } else {
      good &= std::in_range<T>(from[i]);
      into[i] = static_cast<T>(from[i]);
    }
  }
  return good;
}

template <class S, class T>
bool convert_block(const NiftiHeader& header, const std::uint8_t* stored, std::size_t n, T* into) {
  Block<S> block;
  load(stored, n, header.is_swapped, block);
  if (header.is_scaled) {
    const double slope = header.slope, inter = added(header.inter);
    if constexpr (std::is_floating_point_v<T>) {
      for (std::size_t i = 0; i < n; ++i) into[i] = static_cast<T>(static_cast<double>(block[i]) * slope + inter);
      return true;
    } else {
      Block<double> values;
      for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<double>(block[i]) * slope + inter;
      return put_whole(values.data(), n, into);
    }
  }
  if constexpr (std::is_same_v<S, T>) {
    std::memcpy(into, block.data(), n * sizeof(T));
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    for (std::size_t i = 0; i < n; ++i) into[i] = static_cast<T>(block[i]);
    return true;
  } else {
    return put_whole(block.data(), n, into);
  }
}

// From its first bit that is set to the last one: how many digits a floating-point number needs for it.
template <class S>
int digits(S value) {
  const auto bits = static_cast<std::uint64_t>(value);
  const auto size = std::is_signed_v<S> && value < S{} ? std::uint64_t{} - bits : bits;
  return size <= (1U << 24) ? 1 : static_cast<int>(std::bit_width(size)) - std::countr_zero(size);
}

template <class S>
bool exact_block(const NiftiHeader& header, const std::uint8_t* stored, std::size_t n) {
  Block<S> block;
  load(stored, n, header.is_swapped, block);
  bool good = true;
  if constexpr (!std::is_floating_point_v<S>) {
    if (!header.is_scaled) {
      for (std::size_t i = 0; i < n; ++i) good &= digits(block[i]) <= 24;
      return good;
    }
  }
  const double slope = header.slope, inter = added(header.inter);
  for (std::size_t i = 0; i < n; ++i) {
    const double value = header.is_scaled ? static_cast<double>(block[i]) * slope + inter : static_cast<double>(block[i]);
    good &= static_cast<double>(static_cast<float>(value)) == value || value != value;
  }
  return good;
}

// Calls what(S{}) with the type that is stored.
template <class F>
bool with_stored(NiftiType type, F&& what) {
  switch (type) {
    case NiftiType::kUint8:
    case NiftiType::kRgb24:
    case NiftiType::kRgba32:
      return what(std::uint8_t{});
    case NiftiType::kInt8:
      return what(std::int8_t{});
    case NiftiType::kInt16:
      return what(std::int16_t{});
    case NiftiType::kUint16:
      return what(std::uint16_t{});
    case NiftiType::kInt32:
      return what(std::int32_t{});
    case NiftiType::kUint32:
      return what(std::uint32_t{});
    case NiftiType::kFloat32:
      return what(float{});
    case NiftiType::kInt64:
      return what(std::int64_t{});
    case NiftiType::kUint64:
      return what(std::uint64_t{});
    case NiftiType::kFloat64:
      return what(double{});
  }
  return false;
}

}  // namespace

template <class T>
bool NiftiConverter<T>::convert(const std::uint8_t* stored, std::size_t n, T* into) const {
  return with_stored(header_.type, [&](auto one) {
    using S = decltype(one);
    bool good = true;
    for (std::size_t i = 0; i < n; i += kBlock) good &= convert_block<S>(header_, stored + i * sizeof(S), std::min(kBlock, n - i), into + i);
    return good;
  });
}

template <class T>
bool stored_as(const NiftiHeader& header) {
  return !header.is_scaled && (!header.is_swapped || sizeof(T) == 1) && with_stored(header.type, [](auto one) { return std::is_same_v<decltype(one), T>; });
}

template bool stored_as<float>(const NiftiHeader&);
template bool stored_as<double>(const NiftiHeader&);
template bool stored_as<std::uint8_t>(const NiftiHeader&);
template bool stored_as<std::int8_t>(const NiftiHeader&);
template bool stored_as<std::int16_t>(const NiftiHeader&);
template bool stored_as<std::int32_t>(const NiftiHeader&);
template bool stored_as<std::int64_t>(const NiftiHeader&);

template class NiftiConverter<float>;
template class NiftiConverter<double>;
template class NiftiConverter<std::uint8_t>;
template class NiftiConverter<std::int8_t>;
template class NiftiConverter<std::int16_t>;
template class NiftiConverter<std::int32_t>;
template class NiftiConverter<std::int64_t>;

bool exact_in_float(const NiftiHeader& header, const std::uint8_t* stored, std::size_t n) {
  return with_stored(header.type, [&](auto one) {
    using S = decltype(one);
    for (std::size_t i = 0; i < n; i += kBlock)
      if (!exact_block<S>(header, stored + i * sizeof(S), std::min(kBlock, n - i))) return false;
    return true;
  });
}

bool always_exact_in_float(const NiftiHeader& header) {
  const bool is_short = stored_size(header.type) < 4;
  // As in CT, whose numbers are shifted: the sum stays below 2^24.
  const bool is_shifted = is_short && header.slope == 1 && std::abs(header.inter) <= (1 << 23) && std::trunc(header.inter) == header.inter;
  return header.is_scaled ? is_shifted : is_short || header.type == NiftiType::kFloat32;
}

bool exact_in_double(const NiftiHeader& header, const std::uint8_t* stored, std::size_t n) {
  return with_stored(header.type, [&](auto one) {
    using S = decltype(one);
    if constexpr (std::is_floating_point_v<S> || sizeof(S) < 8) {
      return true;
    } else {
      Block<S> block;
      for (std::size_t i = 0; i < n; i += kBlock) {
        const auto count = std::min(kBlock, n - i);
        load(stored + i * sizeof(S), count, header.is_swapped, block);
        if (!std::all_of(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count), [](S value) { return digits(value) <= 53; })) return false;
      }
      return true;
    }
  });
}

}  // namespace sslmed::io
