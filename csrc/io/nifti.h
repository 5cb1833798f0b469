#pragma once
// NIfTI-1 and -2: .nii, .nii.gz, and pairs of .hdr and .img, plain or compressed.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "io/gzip.h"
#include "io/nifti_header.h"

namespace sslmed::io {

struct Volume3 {                      // one 3-D volume
  std::array<std::int64_t, 3> shape;  // cells along the file's axes
  std::vector<float> values;          // slope and intercept applied; the FIRST axis runs fastest, as in the file
  std::array<double, 16> affine;      // row-major [4, 4]: cell (its middle) to mm, RAS+
};

// Trailing axes of one cell are dropped; FormatError for more frames, RGB or NaN affine.
Volume3 read_volume3(const std::string& path, std::vector<std::string>& warnings);

// The header alone: a few KiB are read, and nothing else is decompressed.
NiftiHeader read_nifti_header(const std::string& path, std::vector<std::string>& warnings);

struct NiftiExtension {
  std::int32_t code = 0;
  std::string bytes;  // trailing NULs are padding, and stripped
};

// One file or pair, read once: header, then extensions and values.
class NiftiReader {
 public:
  NiftiReader(const std::string& path, std::vector<std::string>& warnings);

  const NiftiHeader& header() const noexcept { return header_; }
  // Stored numbers: cells, times three or four for RGB.
  std::size_t numbers() const noexcept { return static_cast<std::size_t>(header_.cells() * numbers_per_cell(header_.type)); }
  // Whether every value is the same in float32. Reads the values where the type does not tell.
  bool exact_in_float();
  // Whether every value is the same in float64; only 64-bit integers may not be.
  bool exact_in_double();

  // How many elements `into` of read() should have, at least numbers(), so that a compressed file needs little other memory.
  std::size_t room(std::size_t element_size) const;
  // All numbers, the first axis fastest (within a cell, its colors), from into[returned] on: values that are stored as T stay
  // where they were decompressed. FormatError for T that are integers where a value is none of T.
  template <class T>
  std::size_t read(T* into, std::size_t room);

  // Filled by read() and exact_in_float(), from single files and .hdr alike.
  const std::vector<NiftiExtension>& extensions() const noexcept { return extensions_; }

 private:
  void check_size() const;
  void read_pair_extensions(const File& file, bool packed);
  void read_extensions(const std::uint8_t* bytes, std::size_t size);  // from behind the header on
  void note_extensions(const std::uint8_t* file_start);
  void note_tail(std::uint64_t size);
  void decompress(std::uint8_t* into);  // everything up to the last value
  const std::uint8_t* stage();          // the stored values, in memory of their own
  template <class T>
  void convert(const std::uint8_t* stored, std::size_t first, std::size_t n, T* into) const;

  std::string path_;  // of the header
  std::vector<std::string>& warnings_;
  NiftiHeader header_;
  std::optional<File> values_;  // the file with the values
  bool is_packed_ = false;
  RawBytes staged_;  // from the start of that file, decompressed
  std::vector<NiftiExtension> extensions_;
};

}  // namespace sslmed::io
