#pragma once
// Stored numbers of a NIfTI file as numbers of this machine, slope and intercept applied in float64 as nibabel does.

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/nifti_header.h"

namespace sslmed::io {

// Turns blocks of stored bytes into T: float, double, or an integer (std::uint8_t, std::int8_t … std::int64_t).
template <class T>
class NiftiConverter {
 public:
  explicit NiftiConverter(const NiftiHeader& header) : header_(header) {}

  // n numbers from `stored`, which may be unaligned, and may overlap `into` where it ends behind it (see nifti.cpp). For integers
  // false where one of the values is no whole number within T.
  bool convert(const std::uint8_t* stored, std::size_t n, T* into) const;

 private:
  const NiftiHeader& header_;
};

// Whether the stored bytes are the values as T.
template <class T>
bool stored_as(const NiftiHeader& header);

// Whether every value is the same in float32; stops at the first that is not.
bool exact_in_float(const NiftiHeader& header, const std::uint8_t* stored, std::size_t n);
// Whether float32 has all values of this header, whatever they are.
bool always_exact_in_float(const NiftiHeader& header);
// Whether float64 has every stored integer; only those of 64 bits may have more digits.
bool exact_in_double(const NiftiHeader& header, const std::uint8_t* stored, std::size_t n);

}  // namespace sslmed::io
