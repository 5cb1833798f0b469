#pragma once
// Columns of an index, from pandas' memory to ours.

#include <ATen/Functions.h>

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "core/error.h"
#include "data/origins.h"
#include "data/targets.h"

namespace sslmed::bindings {

using TargetColumns = std::map<std::string, std::vector<double>>;  // labels by name
using TextColumn = std::pair<at::Tensor, at::Tensor>;              // offsets and bytes

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

// What Python hands over as (paths, subject of each, subjects by code, site of each, sites by code).
using OriginColumns = std::tuple<TextColumn, at::Tensor, TextColumn, at::Tensor, std::vector<std::string>>;

template <class Number>
std::vector<Number> numbers(const at::Tensor& column) {
  const auto plain = column.to(at::kCPU, c10::CppTypeToScalarType<Number>::value).contiguous();
  return {plain.template const_data_ptr<Number>(), plain.template const_data_ptr<Number>() + plain.numel()};
}

inline data::Origins origins_of(const OriginColumns& columns) {
  const auto& [paths, subject_codes, subjects, site_codes, sites] = columns;
  data::Origins origins;
  origins.paths = texts_of(paths, subject_codes.numel());
  origins.subject_codes = numbers<std::int32_t>(subject_codes);
  origins.n_subjects = static_cast<std::int32_t>(subjects.first.numel()) - 1;
  origins.subjects = texts_of(subjects, origins.n_subjects);
  origins.site_codes = numbers<std::int32_t>(site_codes);
  origins.sites = sites;
  return origins;
}

// A target of one sample, as Python gives it: a number, or (kind, places, classes).
inline data::Target target_of(const py::handle& given) {
  if (py::isinstance<py::float_>(given) || py::isinstance<py::int_>(given)) return given.cast<double>();
  const auto [kind, places, classes] = given.cast<std::tuple<std::string, std::optional<at::Tensor>, at::Tensor>>();
  const auto named = numbers<std::int32_t>(classes.reshape({-1}));
  if (kind == "map") return data::LabelMap{classes.sizes().vec(), named};
  TORCH_CHECK_VALUE(places && places->dim() == (kind == "points" ? 2 : 3), "targets: '", kind, "' needs places [n, rank] or boxes [n, 2, rank]");
  const auto rank = places->size(-1);
  if (kind == "points") return data::Points{rank, numbers<float>(places->reshape({-1})), named};
  TORCH_CHECK_VALUE(kind == "boxes", "targets: expected 'map', 'points' or 'boxes', got '", kind, "'");
  return data::Boxes{rank, numbers<float>(places->reshape({-1})), named};
}

}  // namespace sslmed::bindings
