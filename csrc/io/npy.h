#pragma once
// Headers of NumPy's .npy format (https://numpy.org/neps/nep-0001-npy-format.html), versions 1.0, 2.0 and 3.0: a magic,
// a length, and a Python dictionary as text, of which only what NumPy writes for plain arrays is read.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sslmed::io {

// Most bytes of a header's text; NumPy refuses longer ones too (max_header_size).
constexpr std::size_t kMostNpyText = 10'000;
// Bytes from the start with which npy_values_begin() knows the rest.
constexpr std::size_t kNpyStart = 12;

struct NpyHeader {
  char kind = 'u';          // NumPy's letter: b (bool), i, u, f, c (complex)
  std::size_t width = 1;    // bytes of an element
  bool is_swapped = false;  // values are big-endian
  bool is_fortran = false;  // the first axis is the fastest in memory
  std::vector<std::int64_t> shape;
  std::size_t begin = 0;    // byte of the first value
  std::uint64_t bytes = 0;  // of all values
};

// Byte of the first value. FormatError for another magic or version, and for a text of more than kMostNpyText bytes. `where` names file and array.
std::size_t npy_values_begin(const std::string& where, const std::uint8_t* bytes, std::size_t size);

// The header, whose `begin` bytes are all there. FormatError where it is malformed, of objects or text or another type
// without a counterpart in torch, or of a shape whose size overflows 63 bits.
NpyHeader parse_npy_header(const std::string& where, const std::uint8_t* bytes, std::size_t size);

// Makes `header.bytes` values little-endian in place. FormatError for a bool that is neither 0 nor 1.
void finish_npy_values(const std::string& where, const NpyHeader& header, std::uint8_t* values);

}  // namespace sslmed::io
