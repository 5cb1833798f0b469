#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/gzip.h"
#include "io/npz.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;

namespace {

std::string npz_number(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

std::string npy_bytes(const std::string& text, const std::string& values, int major = 1) {
  return std::string("\x93NUMPY") + static_cast<char>(major) + '\0' + npz_number(text.size(), major == 1 ? 2 : 4) + text + values;
}

std::string plain_header(const std::string& type, const std::string& shape, const char* fortran = "False") {
  return "{'descr': '" + type + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

struct TestMember {
  std::string name, content;
  bool deflated = false;
  unsigned flags = 0;
  bool large = false;       // sizes and place in the zip64 field
  bool descriptor = false;  // sizes behind the bytes, none in front
  int method = -1;          // another than that of the bytes
};

// A gzip file without its header and trailer is a deflate stream.
std::string raw_deflate(const std::string& bytes) {
  const auto packed = gzip(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), 6);
  return {packed.begin() + 10, packed.end() - 8};
}

std::string zip_bytes(const std::vector<TestMember>& members, bool large_end = false) {
  std::string out, directory;
  for (const auto& member : members) {
    const std::string packed = member.deflated ? raw_deflate(member.content) : member.content;
    const auto sum = crc32(reinterpret_cast<const std::uint8_t*>(member.content.data()), member.content.size());
    const auto at = out.size();
    const unsigned flags = member.flags | (member.descriptor ? 8U : 0U);
    const int method = member.method >= 0 ? member.method : member.deflated ? 8 : 0;
    const std::string how = npz_number(20, 2) + npz_number(flags, 2) + npz_number(static_cast<std::uint64_t>(method), 2) + npz_number(0, 4);
    const auto before = [&](std::uint64_t value) { return npz_number(member.descriptor ? 0 : value, 4); };
    out += "PK\3\4" + how + before(sum) + before(packed.size()) + before(member.content.size()) + npz_number(member.name.size(), 2) + npz_number(0, 2) +
           member.name + packed;
    if (member.descriptor) out += "PK\7\10" + npz_number(sum, 4) + npz_number(packed.size(), 4) + npz_number(member.content.size(), 4);
    const auto or_large = [&](std::uint64_t value) { return npz_number(member.large ? 0xffffffff : value, 4); };
    const std::string other = npz_number(0x5455, 2) + npz_number(1, 2) + "x";  // a time, before the field that counts
    const std::string sizes = npz_number(member.content.size(), 8) + npz_number(packed.size(), 8) + npz_number(at, 8);
    const std::string extra = member.large ? other + npz_number(1, 2) + npz_number(24, 2) + sizes : "";
    directory += "PK\1\2" + npz_number(20, 2) + how + npz_number(sum, 4) + or_large(packed.size()) + or_large(member.content.size()) +
                 npz_number(member.name.size(), 2) + npz_number(extra.size(), 2) + npz_number(2, 2) + npz_number(0, 8) + or_large(at) + member.name + extra +
                 "hi";
  }
  const auto begin = out.size(), count = members.size();
  out += directory;
  if (large_end) {
    const auto record = out.size();
    out += "PK\6\6" + npz_number(44, 8) + npz_number(45, 2) + npz_number(45, 2) + npz_number(0, 8) + npz_number(count, 8) + npz_number(count, 8) +
           npz_number(directory.size(), 8) + npz_number(begin, 8);
    out += "PK\6\7" + npz_number(0, 4) + npz_number(record, 8) + npz_number(1, 4);
  }
  const auto or_far = [&](std::uint64_t value, int bytes) { return npz_number(large_end ? ~std::uint64_t{0} : value, bytes); };
  return out + "PK\5\6" + npz_number(0, 4) + or_far(count, 2) + or_far(count, 2) + or_far(directory.size(), 4) + or_far(begin, 4) + npz_number(3, 2) + "bye";
}

std::vector<std::uint8_t> npz_values(const NpzFile& file, std::size_t number) {
  const auto& array = file.arrays().at(number);
  std::vector<std::uint8_t> room(NpzFile::room(array) + 1, 0xee);
  const auto begin = file.read(array, room.data());
  CHECK(begin % 64 == 0);
  REQUIRE(begin + array.header.bytes + 1 == room.size());
  CHECK(room.back() == 0xee);  // nothing is written beyond
  return {room.begin() + static_cast<std::ptrdiff_t>(begin), room.end() - 1};
}

const std::string kSix("\1\2\3\4\5\6", 6);

}  // namespace

TEST_CASE("npz: arrays come out of every kind of archive") {
  const testing::TemporaryFolder folder;
  const std::string values = npy_bytes(plain_header("|u1", "(2, 3)"), kSix);
  for (const bool deflated : {false, true})
    for (const bool large : {false, true})
      for (const bool descriptor : {false, true}) {
        const TestMember one{"a.npy", values, deflated, 0, large, descriptor}, two{"b.npy", npy_bytes(plain_header("<i2", "()"), "\7\1", 2), deflated};
        const NpzFile file(folder.write("a.npz", zip_bytes({one, {"empty/", ""}, two}, large)));
        REQUIRE(file.arrays().size() == 2);
        CHECK(file.arrays()[0].name == "a");
        CHECK(file.arrays()[0].header.shape == std::vector<std::int64_t>{2, 3});
        CHECK(npz_values(file, 0) == std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6});
        CHECK(file.arrays()[1].header.shape.empty());
        CHECK(npz_values(file, 1) == std::vector<std::uint8_t>{7, 1});
      }
}

TEST_CASE("npz: arrays that are not asked for may hold anything") {
  const testing::TemporaryFolder folder;
  const TestMember good{"a.npy", npy_bytes(plain_header("|u1", "(6,)"), kSix)}, odd{"b.npy", npy_bytes(plain_header("|O", "(1,)"), "pickle")};
  const auto path = folder.write("a.npz", zip_bytes({odd, {"notes.txt", "text"}, good}));
  const NpzFile file(path, std::vector<std::string>{"a"});
  REQUIRE(file.arrays().size() == 1);
  CHECK(npz_values(file, 0) == std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6});
  CHECK_THROWS_WITH(NpzFile(path, std::vector<std::string>{"a", "b"}), Catch::Contains("array 'b'") && Catch::Contains("objects"));
  CHECK_THROWS_WITH(NpzFile(path, std::vector<std::string>{"c"}), Catch::Contains("expected an array 'c', found 'b', 'notes.txt', 'a'"));
}

TEST_CASE("npz: big-endian values are turned, parts of complex numbers by themselves") {
  const testing::TemporaryFolder folder;
  const auto of = [&](const std::string& type) {
    return npz_values(NpzFile(folder.write("a.npz", zip_bytes({{"a.npy", npy_bytes(plain_header(type, "(2,)", "True"), std::string("01234567"), 3)}}))), 0);
  };
  const auto bytes = [](const std::string& text) { return std::vector<std::uint8_t>(text.begin(), text.end()); };
  CHECK(of(">u4") == bytes("32107654"));
  CHECK(of("<u4") == bytes("01234567"));
  CHECK(of(">f4") == bytes("32107654"));
  CHECK_THROWS_WITH(of(">u2"), Catch::Contains("array 'a': expected 4 bytes of values after a header"));
  CHECK(npz_values(NpzFile(folder.write("c.npz", zip_bytes({{"c.npy", npy_bytes(plain_header(">c8", "(1,)"), "01234567")}}))), 0) == bytes("32107654"));
}

TEST_CASE("npz: headers that are no arrays of numbers are refused with the reason") {
  const auto refusal = [](const std::string& text, int major = 1) -> std::string {
    const auto bytes = npy_bytes(text, "", major);
    try {
      parse_npy_header("x", reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    } catch (const FormatError& error) {
      return error.what();
    }
    return "";
  };
  CHECK(refusal("{'shape': (3L, 04), 'fortran_order': False, \"descr\": '<f8'}  \n").empty());
  CHECK_THAT(refusal(plain_header("|O", "(1,)")), Catch::Contains("objects (dtype 'O'), which only pickle"));
  CHECK_THAT(refusal(plain_header("<U3", "(1,)")), Catch::Contains("dtype '<U3'"));
  CHECK_THAT(refusal(plain_header("<M8[ns]", "(1,)")), Catch::Contains("dtype '<M8[ns]'"));
  CHECK_THAT(refusal("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"), Catch::Contains("structured"));
  CHECK_THAT(refusal(plain_header("<f8", "(9223372036854775808,)")), Catch::Contains("beyond 63 bits"));
  CHECK_THAT(refusal(plain_header("<f8", "(4294967296, 4294967296)")), Catch::Contains("overflows 63 bits"));
  CHECK_THAT(refusal(plain_header("<f8", "(0, 9223372036854775807)")), Catch::Contains("overflows 63 bits"));
  CHECK_THAT(refusal(plain_header("<f8", "(-1,)")), Catch::Contains("no number"));
  CHECK_THAT(refusal(plain_header("<f8", "(3)")), Catch::Contains("without a comma"));
  CHECK_THAT(refusal(plain_header("<f8", "(3,)", "Maybe")), Catch::Contains("neither True nor False"));
  CHECK_THAT(refusal("{'descr': '<f8', 'shape': (3,)}"), Catch::Contains("lacks one"));
  CHECK_THAT(refusal("{'descr': '<f8', 'descr': '<f8'}"), Catch::Contains("there twice"));
  CHECK_THAT(refusal("{'other': 1}"), Catch::Contains("unknown"));
  CHECK_THAT(refusal(plain_header("<f8", "(3,)") + "x"), Catch::Contains("more text"));
  CHECK_THAT(refusal("[]"), Catch::Contains("no '{'"));
  CHECK_THAT(refusal("{}", 4), Catch::Contains("version 1.0, 2.0 or 3.0, found 4.0"));
  CHECK_THAT(refusal(plain_header("<f8", "(1,)") + std::string(10'000, ' '), 2), Catch::Contains("at most 10000 bytes"));
}

TEST_CASE("npz: archives that are not as they should be are refused with the reason") {
  const testing::TemporaryFolder folder;
  const TestMember good{"a.npy", npy_bytes(plain_header("|u1", "(6,)"), kSix)};
  const auto refusal = [&](const std::string& bytes) -> std::string {
    try {
      const NpzFile file(folder.write("bad.npz", bytes));
      for (std::size_t i = 0; i < file.arrays().size(); ++i) npz_values(file, i);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "";
  };
  const auto with = [&](auto change) {
    TestMember member = good;
    change(member);
    return refusal(zip_bytes({member}));
  };
  CHECK(refusal(zip_bytes({good})).empty());
  CHECK(refusal(zip_bytes({})).empty());
  CHECK_THAT(with([](auto& m) { m.flags = 1; }), Catch::Contains("encrypted"));
  CHECK_THAT(with([](auto& m) { m.method = 93; }), Catch::Contains("zip method 93"));
  CHECK_THAT(with([](auto& m) { m.name = "\xff.npy"; }), Catch::Contains("a name in UTF-8 or ASCII"));
  CHECK_THAT(with([](auto& m) { m.name = "\xc3\xa9"; }), Catch::Contains("a name in UTF-8 or ASCII"));
  CHECK(with([](auto& m) { m.name = "\xc3\xa9", m.flags = 1U << 11; }).empty());
  CHECK_THAT(with([](auto& m) { m.content = "no array at all"; }), Catch::Contains("an array in .npy format"));
  CHECK_THAT(with([](auto& m) { m.content = npy_bytes(plain_header("|b1", "(6,)"), kSix); }), Catch::Contains("0 or 1 as the bytes of a bool array"));
  CHECK_THAT(with([](auto& m) { m.content += "x"; }), Catch::Contains("6 bytes of values"));
  CHECK_THAT(refusal(zip_bytes({good, good})), Catch::Contains("two of the name"));
  CHECK_THAT(refusal("x" + zip_bytes({good})), Catch::Contains("in front of the archive"));
  CHECK_THAT(refusal(zip_bytes({good}) + "x"), Catch::Contains("no directory at its end"));
  // Two entries of one member: each would be read, of memory that the file does not have.
  std::string twice = zip_bytes({good, {"b.npy", good.content}});
  const auto second = twice.rfind("PK\1\2");
  twice.replace(second + 42, 4, npz_number(0, 4));
  CHECK_THAT(refusal(twice), Catch::Contains("that name in front of its bytes"));
  std::string same = zip_bytes({good, {"a.npy", good.content}});
  same.replace(same.rfind("PK\1\2") + 42, 4, npz_number(0, 4));
  CHECK_THAT(refusal(same), Catch::Contains("an overlap with 'a.npy'"));
  std::string damaged = zip_bytes({good});
  damaged[damaged.find(kSix)] = 9;
  CHECK_THAT(refusal(damaged), Catch::Contains("damaged"));
  std::string bomb = zip_bytes({{"a.npy", good.content, true}});
  bomb.replace(bomb.rfind("PK\1\2") + 24, 4, npz_number(1U << 30, 4));
  CHECK_THAT(refusal(bomb), Catch::Contains("cannot hold as many"));
}

TEST_CASE("npz: a cut archive is refused at every length") {
  const testing::TemporaryFolder folder;
  const auto bytes = zip_bytes({{"a.npy", npy_bytes(plain_header("|u1", "(6,)"), kSix), true}, {"b.npy", npy_bytes(plain_header("|u1", "(6,)"), kSix)}}, true);
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_THROWS_AS(NpzFile(folder.write("cut.npz", bytes.substr(0, n))), FormatError);
}

TEST_CASE("npz: the checksum and deflate streams without libdeflate are those of libdeflate") {
  std::vector<std::uint8_t> bytes(70'000);
  std::uint32_t state = 5;
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 29);
  for (const std::size_t n : {0, 1, 7, 70'000}) CHECK(crc32_by_table(bytes.data(), n) == crc32(bytes.data(), n));
  const std::string check = "123456789";  // the value that every description of it has
  CHECK(crc32_by_table(reinterpret_cast<const std::uint8_t*>(check.data()), check.size()) == 0xcbf43926);
  const auto packed = raw_deflate({bytes.begin(), bytes.end()});
  std::vector<std::uint8_t> out(bytes.size() + 1);
  const auto* from = reinterpret_cast<const std::uint8_t*>(packed.data());
  CHECK(inflate_raw(from, packed.size(), out.data(), bytes.size()));
  CHECK(std::equal(bytes.begin(), bytes.end(), out.begin()));
  CHECK_FALSE(inflate_raw(from, packed.size(), out.data(), bytes.size() - 1));
  CHECK_FALSE(inflate_raw(from, packed.size(), out.data(), bytes.size() + 1));
  CHECK_FALSE(inflate_raw(from, packed.size() - 1, out.data(), bytes.size()));
}
