#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace sslmed::testing {

// A NIfTI file in memory, either version and byte order; what a test is about is changed by put() before bytes().
class NiftiBytes {
 public:
  NiftiBytes(const std::vector<std::int64_t>& shape, int datatype, int version = 1, bool swapped = false, const char* magic = nullptr)
      : second_(version == 2), swapped_(swapped), header_(second_ ? 544 : 352, '\0') {
    put(0, std::int32_t(second_ ? 540 : 348));
    const std::string text = magic != nullptr ? magic : second_ ? "n+2" : "n+1";
    header_.replace(second_ ? 4 : 344, text.size(), text);
    if (second_) header_.replace(8, 4, "\r\n\x1a\n");
    put(second_ ? 12 : 70, std::int16_t(datatype));
    for (std::size_t i = 0; i < 8; ++i) {
      const std::int64_t dim = i == 0 ? static_cast<std::int64_t>(shape.size()) : i <= shape.size() ? shape[i - 1] : 1;
      second_ ? put(16 + 8 * i, dim) : put(40 + 2 * i, std::int16_t(dim));
      real(76, 104, i, 1);
    }
    second_ ? put(168, std::int64_t{544}) : put(108, 352.0f);
    second_ ? put(348, std::int32_t{1}) : put(254, std::int16_t{1});  // sform_code: scanner
    for (std::size_t i = 0; i < 3; ++i) real(280, 400, 5 * i, 1);
    second_ ? put(500, std::int32_t{10}) : put(123, std::uint8_t{10});  // mm and s
  }
  template <class T>
  NiftiBytes& put(std::size_t offset, T value) {
    header_.replace(offset, sizeof(T), raw(value));
    return *this;
  }
  // A float of NIfTI-1 at `first` + 4 i, or the double of NIfTI-2 at `second` + 8 i.
  NiftiBytes& real(std::size_t first, std::size_t second, std::size_t i, double value) {
    return second_ ? put(second + 8 * i, value) : put(first + 4 * i, static_cast<float>(value));
  }
  NiftiBytes& scale(double slope, double inter) { return real(112, 176, 0, slope).real(116, 184, 0, inter); }
  NiftiBytes& sform(int code) { return second_ ? put(348, std::int32_t(code)) : put(254, std::int16_t(code)); }
  NiftiBytes& qform(int code) { return second_ ? put(344, std::int32_t(code)) : put(252, std::int16_t(code)); }
  NiftiBytes& units(int code) { return second_ ? put(500, std::int32_t(code)) : put(123, std::uint8_t(code)); }
  template <class T>
  NiftiBytes& values(const std::vector<T>& values) {
    for (const T value : values) values_ += raw(value);
    return *this;
  }
  const std::string& header() const { return header_; }
  std::string bytes() const { return header_ + values_; }

 private:
  template <class T>
  std::string raw(T value) const {
    std::string out(reinterpret_cast<const char*>(&value), sizeof(T));
    if (swapped_) std::reverse(out.begin(), out.end());
    return out;
  }

  bool second_, swapped_;
  std::string header_, values_;
};

}  // namespace sslmed::testing
