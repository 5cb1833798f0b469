#pragma once
// Ascending whole numbers below n in few bits: the low bits of each side by side, the high parts as gaps in unary.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sslmed::federated {

std::uint64_t places_size(std::uint64_t k, std::uint64_t n);

// places: ascending, each once, below n; out: [places_size].
void write_places(const std::vector<std::uint64_t>& places, std::uint64_t n, std::uint8_t* out);

// Whether `bytes` [places_size] hold as many ascending places below n; any bytes may be given.
bool read_places(const std::uint8_t* bytes, std::uint64_t n, std::vector<std::uint64_t>& places);

}  // namespace sslmed::federated
