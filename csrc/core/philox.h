#pragma once
// The rounds of Philox4x32-10 (Salmon et al., SC 2011) as a formula: core/random.h numbers draws with them, CUDA kernels number voxels.

#include <cstdint>

#include "core/device.h"

namespace sslmed {

// Four counter words become four random words in place, under a key of two words.
SSLMED_FORMULA void philox_rounds(std::uint32_t (&counter)[4], std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = static_cast<std::uint64_t>(0xD2511F53u) * counter[0];
    const std::uint64_t p1 = static_cast<std::uint64_t>(0xCD9E8D57u) * counter[2];
    counter[0] = static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key0;
    counter[1] = static_cast<std::uint32_t>(p1);
    counter[2] = static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key1;
    counter[3] = static_cast<std::uint32_t>(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

}  // namespace sslmed
