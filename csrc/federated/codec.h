#pragma once
// Lossy codecs of float32 tensors for updates that travel: encoders, and decoders that trust no byte. What is encoded is
// a pure function of the values, the seed and the settings: the number of threads changes no byte.
//
// A payload is little-endian, has no header, and its size follows from the settings:
//   kQsgd      a step (float32) for each bucket, then a code of `bits` bits for each value
//   kDrive     a scale (float32) for each block, then a bit for each rotated value
//   kHadamard  the lowest value and a step (float32) for each block, then a code of `bits` bits for each rotated value
//   kTopK      k values (float32), then their ascending indices (Elias-Fano: low bits, then high parts in unary)
//   kRandMask  the values (float32) of the places that the seed chooses
//   kLowRank   P [rows, rank], then the transpose of Q, [rank, columns] (float32)

#include <cstddef>
#include <cstdint>
#include <memory>

namespace sslmed::federated {

// The numbers are those of serialized headers: append, never renumber.
enum class Method : std::uint8_t { kQsgd = 1, kDrive = 2, kHadamard = 3, kTopK = 4, kRandMask = 5, kLowRank = 6 };

struct Spec {
  Method method = Method::kQsgd;
  std::uint64_t n = 0;     // values
  std::uint64_t rows = 0;  // of the matrix, kLowRank only
  unsigned bits = 0;       // of a code: 2 to 8 (kQsgd), 1 (kDrive), 1 to 8 (kHadamard), 32 (others)
  std::uint64_t seed = 0;
  // kQsgd: values of a bucket, a power of two from 8 on, or 0 for one bucket. kDrive, kHadamard: values of a block, a
  // power of two from 8 to 2^16. kTopK: k. kRandMask: p 2^32, the chance of a place to be sent. kLowRank: rank.
  std::uint64_t parameter = 0;
};

// What only an encoder must know.
struct Choices {
  bool least_error = false;  // kDrive: the scale of the least error, which is biased
  unsigned iterations = 1;   // kLowRank: power iterations
};

struct Bytes {
  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
};

// ValueError unless the settings are possible, each named.
void check(const Spec& spec);

// Bytes of a payload; of kRandMask the most that it may have.
std::uint64_t payload_size(const Spec& spec);

// ValueError where values are not finite, or so large that a scale of theirs is beyond float32.
Bytes encode(const Spec& spec, const float* values, const Choices& choices, unsigned threads);

// FormatError unless the payload is one that `encode` can have written; out: [n].
void decode(const Spec& spec, const std::uint8_t* payload, std::size_t size, float* out, unsigned threads);

}  // namespace sslmed::federated
