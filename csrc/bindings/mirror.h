#pragma once
// What the bindings of modules share.

#include <optional>

#include "bindings/bindings.h"
#include "methods/objective.h"
#include "nn/vit.h"

namespace sslmed::bindings {

// What a Python mirror needs of any module: its leaves by name, and a way to replace a buffer's contents.
template <class Module, class... Extra>
void mirror(py::class_<Module, Extra...>& type) {
  type.def("named_parameters",
           [](const Module& module) {
             std::vector<std::pair<std::string, at::Tensor>> out;
             for (const auto& item : module.named_parameters()) out.emplace_back(item.key(), item.value());
             return out;
           })
      .def("named_buffers",
           [](const Module& module) {
             std::vector<std::pair<std::string, at::Tensor>> out;
             for (const auto& item : module.named_buffers()) out.emplace_back(item.key(), item.value());
             return out;
           })
      .def(
          "set_buffer",
          [](Module& module, const std::string& name, const at::Tensor& value) {
            auto buffers = module.named_buffers();
            auto* buffer = buffers.find(name);
            TORCH_CHECK_INDEX(buffer != nullptr, "no buffer '", name, "'");
            buffer->set_data(value);
          },
          py::arg("name"), py::arg("value"))
      .def("train", [](Module& module, bool on) { module.train(on); }, py::arg("mode"));
}

// Packed tokens as Python hands them over. `key`: the modality of the embedding that they need; empty: the encoder's first.
inline nn::PatchTokens tokens(const nn::VisionTransformer* encoder, const at::Tensor& values, const std::vector<std::int64_t>& lengths,
                              const std::optional<at::Tensor>& coords, const std::optional<at::Tensor>& extra, const std::string& modality = "") {
  nn::PatchTokens out;
  out.values = values;
  if (coords) out.coords = *coords;
  if (extra) out.channel = *extra;
  out.lengths = lengths;
  if (encoder != nullptr && !modality.empty()) out.key = encoder->embedding_of(modality).config().key();
  std::int64_t rows = 0;
  for (const auto length : lengths) rows += length;
  TORCH_CHECK_VALUE(values.dim() == 2 && values.size(0) == rows, "lengths sum to ", rows, " but values are ", values.sizes());
  TORCH_CHECK_VALUE(!coords || (coords->dim() == 2 && coords->size(0) == rows && coords->size(1) == 4), "coords must be [", rows, ", 4]");
  TORCH_CHECK_VALUE(!extra || (extra->dim() == 1 && extra->size(0) == rows), "extra must be [", rows, "]");
  return out;
}

}  // namespace sslmed::bindings
