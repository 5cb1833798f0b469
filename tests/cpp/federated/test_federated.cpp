#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "federated/codec.h"
#include "federated/draws.h"
#include "federated/elias_fano.h"
#include "federated/hadamard.h"
#include "federated/packing.h"

using namespace sslmed;
using namespace sslmed::federated;

namespace {

std::vector<float> normal_values(std::size_t n, std::uint64_t seed) {
  Philox random({seed, 0, 0}, Stream::kNoise, true);
  std::vector<float> values(n);
  for (auto& value : values) value = static_cast<float>(random.normal());
  return values;
}

std::vector<std::uint8_t> bytes_of(const Spec& spec, const std::vector<float>& values, unsigned threads, const Choices& choices = {}) {
  const auto payload = encode(spec, values.data(), choices, threads);
  return {payload.data.get(), payload.data.get() + payload.size};
}

std::vector<float> decoded(const Spec& spec, const std::vector<std::uint8_t>& payload, unsigned threads = 1) {
  std::vector<float> out(spec.n, std::numeric_limits<float>::quiet_NaN());
  decode(spec, payload.data(), payload.size(), out.data(), threads);
  return out;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  return sum;
}

double squares(const std::vector<float>& a) { return squared_error(a, std::vector<float>(a.size(), 0.0f)); }

std::vector<Spec> all_specs(std::uint64_t n, std::uint64_t rows) {
  const auto k = std::max<std::uint64_t>(1, n / 50);
  return {{Method::kQsgd, n, 0, 3, 5, 512},     {Method::kQsgd, n, 0, 8, 5, 0},   {Method::kQsgd, n, 0, 5, 5, 8},
          {Method::kDrive, n, 0, 1, 5, 4096},   {Method::kDrive, n, 0, 1, 5, 64}, {Method::kHadamard, n, 0, 7, 5, 65536},
          {Method::kHadamard, n, 0, 1, 5, 128}, {Method::kTopK, n, 0, 32, 0, k},  {Method::kRandMask, n, 0, 32, 5, std::uint64_t{1} << 30},
          {Method::kLowRank, n, rows, 32, 5, 3}};
}

}  // namespace

TEST_CASE("words of a codec are Philox's, in order, whatever is taken at once") {
  const std::uint64_t seed = 0x0123456789abcdefull, group = 0x1'0000'0003ull;
  std::vector<std::uint32_t> at_once(640), bit_by_bit(640);
  Words(seed, Purpose::kMask, group).take(at_once.data(), 600);
  Words slowly(seed, Purpose::kMask, group);
  for (std::size_t i = 0; i < 640; i += kWordsAtOnce) slowly.take(bit_by_bit.data() + i, 1);
  CHECK(at_once == bit_by_bit);
  const auto key = philox4x32({0x89abcdefu, 0x01234567u, 2, 1}, {0, 0});
  for (const std::uint32_t block : {0u, 1u, 17u, 149u}) {
    const auto words = philox4x32({block, 0, 3, 1}, {key[0], key[1]});
    for (std::size_t j = 0; j < 4; ++j) CHECK(at_once[4 * block + j] == words[j]);
  }
}

TEST_CASE("codes are packed bit by bit, and come back") {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    for (const std::size_t n : {1u, 7u, 8u, 9u, 64u, 511u, 512u, 513u, 1000u}) {
      Philox random({bits, 0, n}, Stream::kNoise);
      std::vector<std::uint8_t> codes(n), back(n, 255);
      for (auto& code : codes) code = static_cast<std::uint8_t>(random.below(1u << bits));
      const auto size = (n * bits + 7) / 8;
      REQUIRE(packed_size(n, bits) == size);
      std::vector<std::uint8_t> packed(size + 8, 0xab), plain(size, 0);
      pack(codes.data(), n, bits, packed.data());
      for (std::size_t i = 0; i < n * bits; ++i) plain[i / 8] = static_cast<std::uint8_t>(plain[i / 8] | (codes[i / bits] >> (i % bits) & 1) << (i % 8));
      CHECK(std::equal(plain.begin(), plain.end(), packed.begin()));
      CHECK(std::all_of(packed.begin() + static_cast<std::ptrdiff_t>(size), packed.end(), [](auto b) { return b == 0xab; }));
      unpack(plain.data(), n, bits, back.data());
      CHECK(back == codes);
    }
  }
}

TEST_CASE("the Walsh-Hadamard transform has the signs of its definition") {
  for (std::size_t n = 8; n <= 512; n *= 2) {
    std::vector<float> values(n);
    Philox random({1, 0, n}, Stream::kNoise);
    for (auto& value : values) value = static_cast<float>(random.below(201)) - 100;
    auto found = values;
    walsh_hadamard(found.data(), n);
    for (std::size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::size_t j = 0; j < n; ++j) sum += (std::popcount(i & j) % 2 == 0 ? 1 : -1) * static_cast<double>(values[j]);
      REQUIRE(found[i] == sum);
    }
    walsh_hadamard(found.data(), n);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(found[i] == values[i] * static_cast<float>(n));
  }
}

TEST_CASE("a rotation keeps lengths, differs by seed and block, and is undone") {
  for (const std::size_t n : {1u, 5u, 100u, 4096u, 65536u}) {
    const auto d = std::max<std::size_t>(8, std::bit_ceil(n));
    const auto values = normal_values(n, n);
    std::vector<float> rotated(d), other(d), back(n);
    rotate(values.data(), n, 3, 1, rotated.data(), d);
    CHECK(squares(rotated) == Approx(squares(values)).epsilon(1e-5));
    for (const auto& [seed, block] : {std::pair{4u, 1u}, std::pair{3u, 2u}}) {
      rotate(values.data(), n, seed, block, other.data(), d);
      if (n > 32) CHECK(squared_error(other, rotated) > squares(values));
    }
    rotate_back(rotated.data(), d, 3, 1, back.data(), n);
    CHECK(squared_error(back, values) <= 1e-11 * squares(values));
  }
}

TEST_CASE("ascending places come back from any set, in the bits that the code promises") {
  Philox random({9, 0, 0}, Stream::kNoise, true);
  for (int trial = 0; trial < 300; ++trial) {
    const auto n = 1 + random.below(trial % 3 == 0 ? 10 : 100000);
    std::set<std::uint64_t> chosen;
    for (auto left = 1 + random.below(std::min(n, 500u)); left > 0; --left) chosen.insert(random.below(n));
    if (trial % 7 == 0) chosen.insert({0, n - 1});
    const std::vector<std::uint64_t> places(chosen.begin(), chosen.end());
    std::vector<std::uint8_t> bytes(places_size(places.size(), n));
    std::vector<std::uint64_t> back(places.size());
    write_places(places, n, bytes.data());
    REQUIRE(read_places(bytes.data(), n, back));
    REQUIRE(back == places);
    const double k = static_cast<double>(places.size());
    REQUIRE(static_cast<double>(bytes.size()) <= k * (std::log2(n / k) + 3) / 8 + 2);
  }
  const std::vector<std::uint64_t> far{0, (std::uint64_t{1} << 40) - 1};
  std::vector<std::uint8_t> bytes(places_size(2, std::uint64_t{1} << 40));
  std::vector<std::uint64_t> back(2);
  write_places(far, std::uint64_t{1} << 40, bytes.data());
  REQUIRE(read_places(bytes.data(), std::uint64_t{1} << 40, back));
  CHECK(back == far);
}

TEST_CASE("one and several threads write the same bytes and read the same values") {
  for (const std::uint64_t n : {1ull, 9ull, 4095ull, 4097ull, 1'500'003ull}) {
    const auto rows = n == 1'500'003 ? 3 : n;
    auto values = normal_values(n, 11);
    for (const auto& spec : all_specs(n, rows)) {
      auto fits = spec;
      if (spec.method == Method::kLowRank) fits.parameter = std::min<std::uint64_t>(spec.parameter, std::min(fits.rows, n / fits.rows));
      CAPTURE(n, static_cast<int>(fits.method), fits.bits, fits.parameter);
      const auto one = bytes_of(fits, values, 1);
      REQUIRE(one == bytes_of(fits, values, 4));
      REQUIRE(one.size() <= payload_size(fits));
      const auto back = decoded(fits, one);
      REQUIRE(std::memcmp(back.data(), decoded(fits, one, 3).data(), n * sizeof(float)) == 0);
      REQUIRE(std::all_of(back.begin(), back.end(), [](float v) { return std::isfinite(v); }));
    }
  }
}

TEST_CASE("errors are within the bounds of the papers") {
  const std::uint64_t n = 1 << 16;
  const auto values = normal_values(n, 2);
  const double size = squares(values);
  for (unsigned bits = 2; bits <= 8; ++bits) {
    const Spec spec{Method::kQsgd, n, 0, bits, 1, 512};
    const double s = (1 << (bits - 1)) - 1, bound = std::min(512 / (s * s), std::sqrt(512) / s);
    CHECK(squared_error(decoded(spec, bytes_of(spec, values, 1)), values) <= bound * size);
  }
  for (unsigned bits = 1; bits <= 8; ++bits) {
    const Spec spec{Method::kHadamard, n, 0, bits, 1, 4096};
    const double levels = (1 << bits) - 1;
    CHECK(squared_error(decoded(spec, bytes_of(spec, values, 1)), values) <= (2 * std::log(4096) + 2) / (levels * levels) * size);
  }
  const Spec signs{Method::kDrive, n, 0, 1, 1, 4096};
  const double pi = 3.14159265358979;
  CHECK(squared_error(decoded(signs, bytes_of(signs, values, 1)), values) / size == Approx(pi / 2 - 1).epsilon(0.02));
  CHECK(squared_error(decoded(signs, bytes_of(signs, values, 1, {true, 1})), values) / size == Approx(1 - 2 / pi).epsilon(0.02));
}

TEST_CASE("zeros, tiny values and large ones come back") {
  for (const float scale : {0.0f, 1e-45f, 1e-38f, 2e35f}) {
    std::vector<float> values(1000, scale);
    for (std::size_t i = 0; i < values.size(); i += 2) values[i] = -scale;
    for (auto& spec : all_specs(1000, 10)) {
      CAPTURE(scale, static_cast<int>(spec.method), spec.bits, spec.parameter);
      const auto back = decoded(spec, bytes_of(spec, values, 1));
      if (scale == 0) CHECK(std::all_of(back.begin(), back.end(), [](float v) { return v == 0; }));
      for (const float v : back) REQUIRE(std::fabs(v) <= 600 * scale);
    }
  }
}

TEST_CASE("values that no method can take are refused by their own reason") {
  for (auto& spec : all_specs(5000, 10)) {
    CAPTURE(static_cast<int>(spec.method), spec.bits, spec.parameter);
    for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
      auto values = normal_values(5000, 1);
      values[4321] = odd;
      CHECK_THROWS_WITH(bytes_of(spec, values, 2), Catch::Contains("found 1 value of NaN or infinity, the first at index 4321"));
    }
    const std::vector<float> largest(5000, std::numeric_limits<float>::max());
    if (spec.method == Method::kTopK) {
      CHECK(decoded(spec, bytes_of(spec, largest, 1))[0] == largest[0]);
    } else {
      CHECK_THROWS_WITH(bytes_of(spec, largest, 1), Catch::Contains("too large"));
    }
  }
}

TEST_CASE("any bytes of the right size are refused or give finite values") {
  Philox random({77, 0, 0}, Stream::kNoise, true);
  int refused = 0, read = 0;
  for (int trial = 0; trial < 400; ++trial) {
    const std::uint64_t n = 1 + random.below(300);
    for (auto& spec : all_specs(n, n)) {
      if (spec.method == Method::kLowRank) spec.parameter = 1;
      const auto size = payload_size(spec);
      auto payload = bytes_of(spec, normal_values(n, static_cast<std::uint64_t>(trial)), 1);
      if (trial % 2 == 0) {
        for (auto& byte : payload) byte = static_cast<std::uint8_t>(random.below(256));
      } else if (!payload.empty()) {
        payload[random.below(static_cast<std::uint32_t>(payload.size()))] ^= static_cast<std::uint8_t>(1 + random.below(255));
      }
      try {
        const auto back = decoded(spec, payload);
        REQUIRE(std::all_of(back.begin(), back.end(), [](float v) { return std::isfinite(v); }));
        ++read;
      } catch (const FormatError&) {
        ++refused;
      }
      payload.resize(size + 4);
      CHECK_THROWS_AS(decoded(spec, payload), FormatError);
    }
  }
  CHECK(refused > 400);
  CHECK(read > 400);
}

TEST_CASE("settings that are not possible are refused by name") {
  const std::vector<float> values(64, 1.0f);
  const auto refused = [&](const Spec& spec, const char* text) { CHECK_THROWS_WITH(bytes_of(spec, values, 1), Catch::Contains(text)); };
  refused({Method::kQsgd, 64, 0, 1, 0, 512}, "bits=1");
  refused({Method::kQsgd, 64, 0, 9, 0, 512}, "bits=9");
  refused({Method::kQsgd, 64, 0, 4, 0, 100}, "bucket=100");
  refused({Method::kQsgd, 64, 0, 4, 0, 4}, "bucket=4");
  refused({Method::kHadamard, 64, 0, 0, 0, 64}, "bits=0");
  refused({Method::kHadamard, 64, 0, 4, 0, 1 << 17}, "block=131072");
  refused({Method::kDrive, 64, 0, 2, 0, 64}, "bits=2");
  refused({Method::kTopK, 64, 0, 32, 0, 65}, "k=65");
  refused({Method::kTopK, 64, 0, 32, 0, 0}, "k=0");
  refused({Method::kTopK, 64, 0, 8, 0, 1}, "bits=8");
  refused({Method::kRandMask, 64, 0, 32, 0, 0}, "threshold=0");
  refused({Method::kLowRank, 64, 7, 32, 0, 1}, "rows=7");
  refused({Method::kLowRank, 64, 4, 32, 0, 5}, "rank=5");
  CHECK_THROWS_WITH(payload_size({Method::kQsgd, (std::uint64_t{1} << 40) + 1, 0, 4, 0, 512}), Catch::Contains("2^40"));
}
