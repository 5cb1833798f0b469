#include "ops/info_nce.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace sslmed::ops {
namespace {

void check_indices(const char* name, const at::Tensor& indices, std::int64_t rows, std::int64_t keys) {
  TORCH_CHECK_VALUE(indices.dim() == 1 && indices.size(0) == rows && indices.scalar_type() == at::kLong, "info_nce: ", name, " must be [R] int64 with R=", rows,
                    ", got ", indices.sizes(), " ", indices.scalar_type());
  if (rows == 0 || !indices.is_cpu()) return;  // looking there would wait for the device
  const auto low = indices.min().item<std::int64_t>(), high = indices.max().item<std::int64_t>();
  TORCH_CHECK_VALUE(low >= 0 && high < keys, "info_nce: ", name, " must be within [0, ", keys, "), got ", low < 0 ? low : high);
}

}  // namespace

void check_info_nce(const at::Tensor& queries, const std::optional<at::Tensor>& keys, const at::Tensor& positive, const std::optional<at::Tensor>& own,
                    double temperature) {
  TORCH_CHECK_VALUE(queries.dim() == 2 && queries.size(1) > 0, "info_nce: queries must be [R, D], got ", queries.sizes());
  const auto type = queries.scalar_type();
  TORCH_CHECK_TYPE(type == at::kFloat || type == at::kDouble, "info_nce: queries must be float32 or float64, got ", type);
  if (keys) {
    TORCH_CHECK_VALUE(keys->dim() == 2 && keys->size(1) == queries.size(1) && keys->size(0) > 0, "info_nce: keys must be [M, D] with D=", queries.size(1),
                      ", got ", keys->sizes());
    TORCH_CHECK_TYPE(keys->scalar_type() == type, "info_nce: keys must be of the dtype of queries, ", type, ", got ", keys->scalar_type());
  }
  TORCH_CHECK_VALUE(keys || !own, "info_nce: own is for keys; queries without keys are never compared with themselves");
  const auto rows = queries.size(0), others = keys ? keys->size(0) : rows;
  check_indices("positive", positive, rows, others);
  if (own) check_indices("own", *own, rows, others);
  TORCH_CHECK_VALUE(temperature > 0, "info_nce: temperature=", temperature, " must be positive");
  TORCH_CHECK_VALUE((!keys || keys->device() == queries.device()) && positive.device() == queries.device() && (!own || own->device() == queries.device()),
                    "info_nce: queries, keys, positive and own are on different devices");
}

std::tuple<at::Tensor, at::Tensor> info_nce(const at::Tensor& queries, const std::optional<at::Tensor>& keys, const at::Tensor& positive,
                                            const std::optional<at::Tensor>& own, double temperature) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("sslmed::info_nce", "")
                             .typed<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const std::optional<at::Tensor>&, const at::Tensor&,
                                                                       const std::optional<at::Tensor>&, double)>();
  return op.call(queries, keys, positive, own, temperature);
}

std::tuple<at::Tensor, at::Tensor> info_nce_backward(const at::Tensor& grad, const at::Tensor& queries, const std::optional<at::Tensor>& keys,
                                                     const at::Tensor& positive, const std::optional<at::Tensor>& own, const at::Tensor& lse,
                                                     double temperature, bool wants_keys) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("sslmed::info_nce_backward", "")
                             .typed<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                                                       const at::Tensor&, const std::optional<at::Tensor>&, const at::Tensor&, double, bool)>();
  return op.call(grad, queries, keys, positive, own, lse, temperature, wants_keys);
}

}  // namespace sslmed::ops

TORCH_LIBRARY_FRAGMENT(sslmed, m) {
  m.def("info_nce(Tensor queries, Tensor? keys, Tensor positive, Tensor? own, float temperature) -> (Tensor, Tensor)");
  m.def(
      "info_nce_backward(Tensor grad, Tensor queries, Tensor? keys, Tensor positive, Tensor? own, Tensor lse, float temperature, bool wants_keys) -> "
      "(Tensor, Tensor)");
}
