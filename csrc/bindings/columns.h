#pragma once
// Columns of an index, from pandas' memory to ours.

#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "core/error.h"
#include "data/texts.h"

namespace sslmed::bindings {

using TextColumn = std::pair<at::Tensor, at::Tensor>;  // offsets and bytes

// Offsets [n + 1] int64 and bytes [m] uint8, as Arrow has them; the tensors are kept, not copied.
inline data::Texts texts_of(const TextColumn& column, std::int64_t n) {
  const auto& [offsets, bytes] = column;
  if (offsets.scalar_type() != at::kLong || bytes.scalar_type() != at::kByte || !offsets.is_contiguous() || !bytes.is_contiguous() || offsets.numel() != n + 1)
    throw ValueError("a column of texts needs " + std::to_string(n + 1) + " int64 offsets and uint8 bytes");
  const auto* at = offsets.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i)
    if (at[i] < 0 || at[i + 1] < at[i]) throw ValueError("the offsets of a column of texts go back");
  if (at[n] > bytes.numel()) throw ValueError("the offsets of a column of texts go past its end");
  return {at, reinterpret_cast<const char*>(bytes.const_data_ptr<std::uint8_t>()), std::make_shared<std::pair<at::Tensor, at::Tensor>>(offsets, bytes)};
}

template <class Number>
std::vector<Number> numbers(const at::Tensor& column) {
  const auto plain = column.to(at::kCPU, c10::CppTypeToScalarType<Number>::value).contiguous();
  return {plain.template const_data_ptr<Number>(), plain.template const_data_ptr<Number>() + plain.numel()};
}

}  // namespace sslmed::bindings
