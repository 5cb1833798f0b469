#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/gzip.h"
#include "io/inflate_start.h"

using namespace sslmed;
using namespace sslmed::io;

namespace {

using Octets = std::vector<std::uint8_t>;

// Bytes that repeat themselves and also do not, so that every kind of block occurs.
Octets gzip_sample(std::size_t n) {
  Octets out(n);
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < n; ++i) {
    state = state * 1664525 + 1013904223;
    out[i] = static_cast<std::uint8_t>(i % 1000 < 500 ? i / 7 : state >> 24);
  }
  return out;
}

Octets packed(const Octets& bytes, int level = 6) { return gzip(bytes.data(), bytes.size(), level); }

Octets joined(Octets a, const Octets& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// What gunzip() finds in a room of `room` bytes.
Octets unpacked(const Octets& bytes, std::size_t room) {
  Octets out(room);
  const auto found = gunzip("x.gz", bytes.data(), bytes.size(), out.data(), room);
  REQUIRE_FALSE(found.has_more);
  out.resize(found.size);
  return out;
}

Octets started(const Octets& bytes, std::size_t room) {
  Octets out(room);
  out.resize(gunzip_start("x.gz", bytes.data(), bytes.size(), out.data(), room));
  return out;
}

}  // namespace

TEST_CASE("gzip: what was compressed comes back, at every level, and equal input gives equal bytes") {
  for (const std::size_t n : {0, 1, 7, 1000, 100000})
    for (const int level : {0, 1, 6, 12}) {
      const auto bytes = gzip_sample(n);
      CHECK(unpacked(packed(bytes, level), n + 1) == bytes);
      CHECK(packed(bytes, level) == packed(bytes, level));
    }
  CHECK_THROWS_WITH(packed({}, 13), Catch::Contains("compression=13"));
}

TEST_CASE("gzip: all members are read, and zeros may follow them, nothing else") {
  const auto a = gzip_sample(700), b = gzip_sample(90), empty = Octets{};
  const auto three = joined(joined(packed(a), packed(empty)), packed(b));
  CHECK(unpacked(three, 790) == joined(a, b));
  CHECK(unpacked(joined(three, Octets(512, 0)), 790) == joined(a, b));
  CHECK_THROWS_WITH(unpacked(joined(three, {0, 0, 1}), 790), Catch::Contains("x.gz: expected the end of the file") && Catch::Contains("3 bytes more"));
}

TEST_CASE("gzip: more than there is room for is said, and nothing is written behind the room") {
  const auto bytes = gzip_sample(5000), file = packed(bytes);
  for (const std::size_t room : {0, 1, 4999}) {
    Octets out(room + 8, 0xAB);
    CHECK(gunzip("x.gz", file.data(), file.size(), out.data(), room).has_more);
    CHECK(std::all_of(out.begin() + static_cast<std::ptrdiff_t>(room), out.end(), [](std::uint8_t byte) { return byte == 0xAB; }));
  }
}

TEST_CASE("gzip: a file that is cut, or has a wrong bit, is refused") {
  // With room to spare: libdeflate goes on with zeros for a while behind the end.
  const auto file = packed(gzip_sample(3000));
  for (std::size_t n = 0; n < file.size(); n += 5) CHECK_THROWS_AS(unpacked({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(n)}, 9000), FormatError);
  for (const std::size_t at : {file.size() / 2, file.size() - 8, file.size() - 1}) {  // data, checksum, length
    auto wrong = file;
    wrong[at] ^= 4;
    CHECK_THROWS_AS(unpacked(wrong, 9000), FormatError);
  }
}

TEST_CASE("gzip: the start of a stream is that of the whole, over blocks and members of every kind") {
  const auto bytes = gzip_sample(100000);
  for (const int level : {0, 1, 6, 12})
    for (const std::size_t room : {1, 348, 540, 70000}) {
      const Octets start(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(room));
      CHECK(started(packed(bytes, level), room) == start);
      CHECK(started(joined(packed({bytes.begin(), bytes.begin() + 100}, level), packed({bytes.begin() + 100, bytes.end()}, level)), room) == start);
    }
  CHECK(started(packed(gzip_sample(9)), 540) == gzip_sample(9));
}

TEST_CASE("gzip: the optional fields of a header are skipped") {
  const auto bytes = gzip_sample(100), plain = packed(bytes);
  for (const std::uint8_t flags : {4, 8, 16, 2, 28}) {
    Octets file(plain.begin(), plain.begin() + 10);
    file[3] = flags;
    if (flags & 4) file = joined(file, {3, 0, 'a', 'b', 'c'});
    if (flags & 8) file = joined(file, {'n', 0});
    if (flags & 16) file = joined(file, {'c', 'o', 0});
    if (flags & 2) file = joined(file, {0, 0});  // the header's checksum, which is not looked at
    file.insert(file.end(), plain.begin() + 10, plain.end());
    CHECK(started(file, 50) == Octets(bytes.begin(), bytes.begin() + 50));
    CHECK(unpacked(file, 100) == bytes);
  }
}

TEST_CASE("inflate: damage is told from the end of the input") {
  const auto run = [](const Octets& bytes) {
    Octets out(64);
    return inflate_start(bytes.data(), bytes.size(), out.data(), out.size());
  };
  CHECK(run({}).status == InflateStart::kInputEnds);
  CHECK(run({0x07}).status == InflateStart::kDamaged);                   // a block of no known kind
  CHECK(run({0x01, 1, 0, 0, 0, 'x'}).status == InflateStart::kDamaged);  // a length and no inverse of it
  CHECK(run({0x01, 2, 0, 0xfd, 0xff, 'x'}).status == InflateStart::kInputEnds);
  const auto whole = run({0x01, 1, 0, 0xfe, 0xff, 'x', 9});
  CHECK(whole.status == InflateStart::kWhole);
  CHECK(whole.read == 6);
  CHECK(run({0x03, 0x02}).status == InflateStart::kDamaged);  // a repetition before anything is there
}
