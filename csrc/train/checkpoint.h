#pragma once
// Named tensors and their metadata in one safetensors file.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace sslmed::train {

using TensorMap = std::map<std::string, at::Tensor>;
using Metadata = std::map<std::string, std::string>;

// Writes atomically; tensors may lie on any device and need not be contiguous.
void save_tensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata);
// FormatError or ReadError; a dtype that torch lacks is a FormatError.
TensorMap load_tensors(const std::string& path, Metadata* metadata = nullptr);

// Shortest text that reads back as the same double.
std::string exact_text(double value);

}  // namespace sslmed::train
