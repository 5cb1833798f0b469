// Any settings and any payload: refused by name, or decoded to finite values.

#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "federated/codec.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sslmed;
  // Method, bits, rows, n (16 bits), the parameter (32 bits), the seed (8 bits); then the payload.
  constexpr std::size_t kHead = 10;
  if (size < kHead) return 0;
  federated::Spec spec;
  spec.method = static_cast<federated::Method>(data[0] % 8);
  spec.bits = data[1] % 40;
  spec.rows = data[2];
  std::uint16_t n = 0;
  std::uint32_t parameter = 0;
  std::memcpy(&n, data + 3, sizeof n);
  std::memcpy(&parameter, data + 5, sizeof parameter);
  spec.n = n;
  spec.parameter = parameter;
  spec.seed = data[9];
  try {
    std::vector<std::uint8_t> payload(data + kHead, data + size);
    // Of payloads that lack bytes, those that are there come again: few inputs would have just the right size.
    const auto wanted = federated::payload_size(spec);
    if (!payload.empty() && spec.method != federated::Method::kRandMask && data[1] >= 128) {
      fuzz::require(wanted < (1u << 24));
      const auto had = payload.size();
      payload.resize(wanted);
      for (std::size_t i = had; i < wanted; ++i) payload[i] = payload[i % had];
    }
    std::vector<float> out(spec.n, std::nanf(""));
    federated::decode(spec, payload.data(), payload.size(), out.data(), 1 + data[2] % 2);
    for (const float value : out) fuzz::require(std::isfinite(value));
  } catch (const FormatError&) {
  } catch (const ValueError&) {
  }
  return 0;
}
