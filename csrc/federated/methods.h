#pragma once
// The codecs of the room, a file each; codec.cpp calls them with settings and sizes that were checked.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "federated/codec.h"

namespace sslmed::federated {

// Values that share their random words: those of value i are word i % kChunk of the draw i / kChunk.
inline constexpr std::uint64_t kChunk = 4096;

inline constexpr std::uint64_t chunks_of(std::uint64_t n, std::uint64_t size) { return n / size + (n % size != 0); }

// What threads found; worker threads must not throw.
enum class Fault : int { kNone = 0, kNotFinite = 1, kTooLarge = 2 };

class Faults {
 public:
  // The lesser number stays: values that are not finite are the reason for sums that are not.
  void note(Fault fault) {
    int seen = worst_.load(std::memory_order_relaxed);
    const int now = static_cast<int>(fault);
    while ((seen == 0 || now < seen) && !worst_.compare_exchange_weak(seen, now, std::memory_order_relaxed)) {
    }
  }
  Fault found() const { return static_cast<Fault>(worst_.load()); }

 private:
  std::atomic<int> worst_{0};
};

// The bits of the largest magnitude; kInfinity or more where a value is not finite.
std::uint32_t largest_magnitude(const float* values, std::size_t n);
inline constexpr std::uint32_t kInfinity = 0x7f800000u;

// The least float that is not below `value`; infinite where there is none.
float round_up(double value);

[[noreturn]] void refuse_payload(std::string_view expected, std::string_view found);

Fault encode_qsgd(const Spec& spec, const float* values, std::uint8_t* payload, unsigned threads);
void decode_qsgd(const Spec& spec, const std::uint8_t* payload, float* out, unsigned threads);
// kDrive and kHadamard.
Fault encode_rotated(const Spec& spec, const float* values, bool least_error, std::uint8_t* payload, unsigned threads);
void decode_rotated(const Spec& spec, const std::uint8_t* payload, float* out, unsigned threads);
Fault encode_top_k(const Spec& spec, const float* values, std::uint8_t* payload, unsigned threads);
void decode_top_k(const Spec& spec, const std::uint8_t* payload, float* out);
Fault encode_random_mask(const Spec& spec, const float* values, Bytes& payload, unsigned threads);
void decode_random_mask(const Spec& spec, const std::uint8_t* payload, std::size_t size, float* out, unsigned threads);
Fault encode_low_rank(const Spec& spec, const float* values, unsigned iterations, std::uint8_t* payload, unsigned threads);
void decode_low_rank(const Spec& spec, const std::uint8_t* payload, float* out, unsigned threads);

}  // namespace sslmed::federated
