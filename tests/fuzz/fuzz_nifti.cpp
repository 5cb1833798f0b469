// Any bytes: refused with one of our two errors, or read; what is read agrees with itself and survives being written. The first
// byte says whether the rest is a file as it stands, is compressed first, is the header of a pair, or a deflate stream.

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/gzip.h"
#include "io/inflate_start.h"
#include "io/nifti.h"
#include "io/nifti_write.h"
#include "memory_file.h"

namespace {

using namespace sslmed;

// Where zlib takes a deflate stream, which is stricter than libdeflate, its start is the start of what zlib makes of it.
void check_inflate_start(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> start(1000), all(1 << 16);
  const auto found = io::inflate_start(data, size, start.data(), start.size());
  fuzz::require(found.written <= start.size() && (found.status != io::InflateStart::kWhole || found.read <= size));
  z_stream stream{};
  fuzz::require(::inflateInit2(&stream, -15) == Z_OK);
  stream.next_in = const_cast<Bytef*>(data);
  stream.avail_in = static_cast<unsigned>(size);
  stream.next_out = all.data();
  stream.avail_out = static_cast<unsigned>(all.size());
  const bool whole = ::inflate(&stream, Z_FINISH) == Z_STREAM_END;
  ::inflateEnd(&stream);
  if (!whole) return;
  fuzz::require(found.status == io::InflateStart::kFull ? stream.total_out > start.size() : found.status == io::InflateStart::kWhole);
  if (found.status == io::InflateStart::kWhole) fuzz::require(found.written == stream.total_out && found.read == stream.total_in);
  fuzz::require(std::equal(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(found.written), all.begin()));
}

template <class T>
std::vector<T> read_all(const std::string& path) {
  std::vector<std::string> warnings;
  io::NiftiReader reader(path, warnings);
  std::vector<T> out(reader.room(sizeof(T)));
  const auto first = reader.read(out.data(), out.size());
  fuzz::require(first + reader.numbers() <= out.size());
  out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(first));
  out.resize(reader.numbers());
  return out;
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void write_again(const io::NiftiReader& reader, const std::vector<double>& values) {
  static const std::string copy = "/dev/shm/sslmed-fuzz-" + std::to_string(::getpid()) + ".nii.gz";
  const auto& header = reader.header();
  io::NiftiWriteOptions options{.type = io::NiftiType::kFloat64,
                                .shape = header.shape,
                                .affine = header.affine,
                                .spacing = header.spacing,
                                .extensions = reader.extensions(),
                                .description = {},
                                .version = 2,
                                .compression = 1};
  if (io::numbers_per_cell(header.type) > 1) return;
  try {
    io::write_nifti(copy, options, values.data());
  } catch (const ValueError&) {  // a spacing or an affine that is not finite
    return;
  }
  std::vector<std::string> warnings;
  io::NiftiReader again(copy, warnings);
  fuzz::require(again.header().affine == header.affine && again.header().spacing == header.spacing);
  const auto back = read_all<double>(copy);
  fuzz::require(std::equal(values.begin(), values.end(), back.begin(), back.end(), same));
  ::unlink(copy.c_str());
}

void read_file(const std::string& path, std::size_t size) {
  std::vector<std::string> warnings;
  (void)io::read_nifti_header(path, warnings);
  io::NiftiReader reader(path, warnings);
  const bool exact = reader.exact_in_float();
  (void)reader.exact_in_double();
  const auto values = read_all<double>(path);
  const auto floats = read_all<float>(path);
  std::vector<double> staged(reader.numbers());
  fuzz::require(reader.read(staged.data(), staged.size()) == 0);
  fuzz::require(std::equal(values.begin(), values.end(), staged.begin(), staged.end(), same));
  if (exact) fuzz::require(std::equal(values.begin(), values.end(), floats.begin(), floats.end(), same));
  try {
    const auto integers = read_all<std::int32_t>(path);
    fuzz::require(std::equal(values.begin(), values.end(), integers.begin(), integers.end(), same));
  } catch (const FormatError&) {
  }
  if (size % 64 == 0) write_again(reader, values);  // flushes to disk
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile memory;
  if (size == 0) return 0;
  const auto mode = data[0] % 4;
  ++data, --size;
  if (mode == 3) {
    check_inflate_start(data, size);
    return 0;
  }
  try {
    if (mode == 1) {
      const auto packed = io::gzip(data, size, size % 2 == 0 ? 1 : 0);
      memory.set(packed.data(), packed.size());
    } else {
      memory.set(data, size);
    }
    if (mode == 2) {  // a pair: the same bytes are header and values
      static const std::string folder = [] {
        const std::string name = "/dev/shm/sslmed-fuzz-" + std::to_string(::getpid());
        for (const char* ending : {".hdr", ".img"}) fuzz::require(::symlink(memory.path().c_str(), (name + ending).c_str()) == 0);
        return name;
      }();
      read_file(folder + ".hdr", size);
    } else {
      read_file(memory.path(), size);
    }
    memory.shrink(size / 2);
    read_file(memory.path(), size);
  } catch (const FormatError&) {
  } catch (const ReadError&) {
  }
  return 0;
}
