// Codecs of updates. Values are [n], payloads are bytes; the Python side holds shapes and headers.

#include <ATen/Functions.h>

#include <bit>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "core/checksum.h"
#include "core/error.h"
#include "federated/codec.h"
#include "federated/hadamard.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::federated;

at::Tensor checked(const at::Tensor& given, const char* name, at::ScalarType type) {
  if (given.scalar_type() == type && given.layout() == at::kStrided && given.device().is_cpu()) return given.contiguous();
  std::ostringstream found;
  found << name << ": expected a dense tensor of " << type << " on the CPU, found " << given.scalar_type() << " on " << given.device();
  throw ValueError(found.str());
}

Method method_of(const std::string& name) {
  if (name == "qsgd") return Method::kQsgd;
  if (name == "drive") return Method::kDrive;
  if (name == "hadamard") return Method::kHadamard;
  if (name == "topk") return Method::kTopK;
  if (name == "randmask") return Method::kRandMask;
  if (name == "lowrank") return Method::kLowRank;
  throw ValueError("method=" + quote(name) + " is not known");
}

Spec spec_of(const std::string& method, std::uint64_t n, std::uint64_t rows, unsigned bits, std::uint64_t seed, std::uint64_t parameter) {
  return {method_of(method), n, rows, bits, seed, parameter};
}

at::Tensor encode_values(const at::Tensor& values, const std::string& method, std::uint64_t rows, unsigned bits, std::uint64_t seed, std::uint64_t parameter,
                         bool least_error, unsigned iterations, unsigned threads) {
  const auto held = checked(values, "tensor", at::kFloat);
  const auto spec = spec_of(method, static_cast<std::uint64_t>(held.numel()), rows, bits, seed, parameter);
  auto payload = encode(spec, held.const_data_ptr<float>(), {least_error, iterations}, threads);
  if (payload.size == 0) return at::empty({0}, at::kByte);
  const auto size = static_cast<std::int64_t>(payload.size);
  return at::from_blob(payload.data.release(), {size}, [](void* bytes) { delete[] static_cast<std::uint8_t*>(bytes); }, at::kByte);
}

at::Tensor decode_payload(const at::Tensor& payload, const std::string& method, std::uint64_t n, std::uint64_t rows, unsigned bits, std::uint64_t seed,
                          std::uint64_t parameter, unsigned threads) {
  const auto held = checked(payload, "payload", at::kByte);
  const auto spec = spec_of(method, n, rows, bits, seed, parameter);
  // Before memory for n values is asked for.
  const auto size = static_cast<std::uint64_t>(held.numel()), most = payload_size(spec);
  if (spec.method == Method::kRandMask ? size > most : size != most) throw FormatError("payload", std::to_string(most) + " bytes", std::to_string(size));
  auto out = at::empty({static_cast<std::int64_t>(n)}, at::kFloat);
  decode(spec, held.const_data_ptr<std::uint8_t>(), held.numel(), out.data_ptr<float>(), threads);
  return out;
}

at::Tensor hadamard_of(const at::Tensor& values) {
  auto out = checked(values, "values", at::kFloat).clone();
  const auto n = static_cast<std::uint64_t>(out.numel());
  require(std::has_single_bit(n) && n >= 8, "n", n, "must be a power of two from 8 on");
  walsh_hadamard(out.data_ptr<float>(), n);
  return out;
}

}  // namespace

void bind_federated(py::module_& m) {
  using Free = py::call_guard<py::gil_scoped_release>;
  m.def("encode_update", &encode_values, py::arg("values"), py::arg("method"), py::arg("rows"), py::arg("bits"), py::arg("seed"), py::arg("parameter"),
        py::arg("least_error"), py::arg("iterations"), py::arg("threads"), Free(), "The payload, uint8.");
  m.def("decode_update", &decode_payload, py::arg("payload"), py::arg("method"), py::arg("n"), py::arg("rows"), py::arg("bits"), py::arg("seed"),
        py::arg("parameter"), py::arg("threads"), Free(), "The values, float32 [n].");
  m.def(
      "update_size",
      [](const std::string& method, std::uint64_t n, std::uint64_t rows, unsigned bits, std::uint64_t parameter) {
        return payload_size(spec_of(method, n, rows, bits, 0, parameter));
      },
      py::arg("method"), py::arg("n"), py::arg("rows"), py::arg("bits"), py::arg("parameter"),
      "Bytes of a payload; of a random mask the most that it may have.");
  m.def("walsh_hadamard", &hadamard_of, py::arg("values"), Free(), "The Walsh-Hadamard transform of [n], without a scale.");
  m.def(
      "bytes_checksum",
      [](const py::buffer& bytes) {
        const auto info = bytes.request();
        if (info.ndim != 1 || info.itemsize != 1 || info.strides[0] != 1) throw ValueError("bytes: expected bytes in a row");
        return checksum(info.ptr, static_cast<std::size_t>(info.size));
      },
      py::arg("bytes"), "A checksum against damage, not against malice.");
}

}  // namespace sslmed::bindings
