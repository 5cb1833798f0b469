#include "train/checkpoint.h"

#include <ATen/Functions.h>

#include <charconv>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/safetensors.h"

namespace sslmed::train {
namespace {

constexpr std::pair<const char*, at::ScalarType> kTypes[] = {{"F64", at::kDouble},
                                                             {"F32", at::kFloat},
                                                             {"F16", at::kHalf},
                                                             {"BF16", at::kBFloat16},
                                                             {"I64", at::kLong},
                                                             {"I32", at::kInt},
                                                             {"I16", at::kShort},
                                                             {"I8", at::kChar},
                                                             {"U8", at::kByte},
                                                             {"U16", at::kUInt16},
                                                             {"U32", at::kUInt32},
                                                             {"U64", at::kUInt64},
                                                             {"BOOL", at::kBool},
                                                             {"F8_E4M3", at::kFloat8_e4m3fn},
                                                             {"F8_E5M2", at::kFloat8_e5m2}};

}  // namespace

std::string exact_text(double value) {
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

void save_tensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata) {
  std::vector<io::TensorBytes> bytes;
  std::vector<at::Tensor> alive;
  for (const auto& [name, tensor] : tensors) {
    const char* code = nullptr;
    for (const auto& [known, type] : kTypes)
      if (type == tensor.scalar_type()) code = known;
    if (code == nullptr)
      throw ValueError(path + ": tensor " + quote(name) + " has dtype " + c10::toString(tensor.scalar_type()) + ", which safetensors cannot hold");
    alive.push_back(tensor.detach().cpu().contiguous());
    bytes.push_back({name, code, alive.back().sizes().vec(), alive.back().const_data_ptr()});
  }
  io::write_safetensors(path, bytes, metadata);
}

TensorMap load_tensors(const std::string& path, Metadata* metadata) {
  const io::SafetensorsFile file(path);
  TensorMap tensors;
  for (const auto& entry : file.entries()) {
    const at::ScalarType* found = nullptr;
    for (const auto& [code, type] : kTypes)
      if (entry.code == code) found = &type;
    if (found == nullptr) throw FormatError(path, "a dtype that torch has", quote(entry.code));
    auto tensor = at::empty(entry.shape, at::TensorOptions().dtype(*found));
    file.read(entry, tensor.mutable_data_ptr());
    tensors.emplace(entry.name, std::move(tensor));
  }
  if (metadata != nullptr) *metadata = file.metadata();
  return tensors;
}

}  // namespace sslmed::train
