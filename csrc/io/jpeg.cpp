#include "io/jpeg.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/error.h"

#ifdef SSLMED_IMAGES
#include <csetjmp>
#include <cstdio>
// After <cstdio>.
#include <jerror.h>
#include <jpeglib.h>
#endif

namespace sslmed::io {

#ifdef SSLMED_IMAGES
namespace {

// libjpeg leaves by longjmp. Between setjmp and there, no object with a destructor may live: Session's methods keep to plain values, and
// what went wrong is thrown after the jump.
struct ErrorManager {
  jpeg_error_mgr base{};
  std::jmp_buf jump{};
  char message[JMSG_LENGTH_MAX]{};
  char warning[JMSG_LENGTH_MAX]{};
  bool lenient = false;
};

ErrorManager& manager_of(j_common_ptr info) { return *reinterpret_cast<ErrorManager*>(info->err); }

[[noreturn]] void leave(j_common_ptr info) {
  auto& manager = manager_of(info);
  info->err->format_message(info, manager.message);
  std::longjmp(manager.jump, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  // Bytes between markers, odd version numbers and odd orders of progressive scans leave the pixels alone. Everything else means that some were guessed.
  const int code = info->err->msg_code;
  auto& manager = manager_of(info);
  if (!manager.lenient || (code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR && code != JWRN_BOGUS_PROGRESSION)) leave(info);
  if (manager.warning[0] == 0) info->err->format_message(info, manager.warning);
}

class Session {
 public:
  Session() {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = leave;
    errors_.base.emit_message = on_message;
    if (setjmp(errors_.jump) != 0) throw std::runtime_error(std::string("libjpeg: ") + errors_.message);
    jpeg_create_decompress(&info_);
  }
  ~Session() { jpeg_destroy_decompress(&info_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool open(const JpegBytes& jpeg) {
    errors_.message[0] = errors_.warning[0] = 0;
    if (setjmp(errors_.jump) != 0) return false;
    if (jpeg.tables != nullptr && !jpeg.tables->empty()) {
      jpeg_mem_src(&info_, jpeg.tables->data(), jpeg.tables->size());
      if (jpeg_read_header(&info_, FALSE) != JPEG_HEADER_TABLES_ONLY) {
        std::snprintf(errors_.message, sizeof errors_.message, "an image where tables alone belong");
        return false;
      }
    }
    jpeg_mem_src(&info_, jpeg.data, jpeg.size);
    jpeg_read_header(&info_, TRUE);
    if (info_.num_components == 3 && jpeg.colour != JpegColour::kStored) info_.jpeg_color_space = jpeg.colour == JpegColour::kRgb ? JCS_RGB : JCS_YCbCr;
    if (info_.num_components != 1 && info_.num_components != 3 && info_.num_components != 4) {
      std::snprintf(errors_.message, sizeof errors_.message, "%d components", info_.num_components);
      return false;
    }
    info_.out_color_space = info_.num_components == 1 ? JCS_GRAYSCALE : info_.num_components == 3 ? JCS_RGB : JCS_CMYK;
    return true;
  }

  ImageSize size() const { return {info_.image_width, info_.image_height, info_.num_components}; }

  // `row` holds one row of the image.
  bool decode(const Rectangle& part, std::uint8_t* into, std::size_t stride, std::uint8_t* row, unsigned shrink) {
    if (setjmp(errors_.jump) != 0) return false;
    info_.scale_num = 1;
    info_.scale_denom = shrink;
    jpeg_start_decompress(&info_);
    const auto width = static_cast<std::int64_t>(info_.output_width), height = static_cast<std::int64_t>(info_.output_height);
    const auto channels = static_cast<std::size_t>(info_.output_components);
    const bool whole = part.x == 0 && part.y == 0 && part.width == width && part.height == height;
    std::int64_t left = 0, top = part.y;
    // Chroma is interpolated across blocks: one block more on each side makes the pixels what they are in the whole image.
    // A progressive file is decoded before its first row comes, so that there is nothing to save but the copying.
    if (!whole && info_.buffered_image == FALSE && info_.progressive_mode == FALSE) {
      const auto block_width = static_cast<std::int64_t>(info_.max_h_samp_factor) * DCTSIZE;
      const auto block_height = static_cast<std::int64_t>(info_.max_v_samp_factor) * DCTSIZE;
      const std::int64_t first = std::max<std::int64_t>(0, part.x - block_width), last = std::min(width, part.x + part.width + block_width);
      if (first > 0 || last < width) {
        auto offset = static_cast<JDIMENSION>(first), count = static_cast<JDIMENSION>(last - first);
        jpeg_crop_scanline(&info_, &offset, &count);
        left = offset;
      }
      top = std::max<std::int64_t>(0, part.y / block_height - 1) * block_height;
      if (top > 0) jpeg_skip_scanlines(&info_, static_cast<JDIMENSION>(top));
    } else {
      top = 0;
    }
    const bool direct = left == part.x && static_cast<std::int64_t>(info_.output_width) == part.width;
    for (std::int64_t y = top; y < part.y + part.height; ++y) {
      std::uint8_t* out = into + static_cast<std::size_t>(std::max<std::int64_t>(0, y - part.y)) * stride;
      JSAMPROW target = direct && y >= part.y ? out : row;
      jpeg_read_scanlines(&info_, &target, 1);
      if (target == row && y >= part.y)
        std::memcpy(out, row + static_cast<std::size_t>(part.x - left) * channels, static_cast<std::size_t>(part.width) * channels);
    }
    if (part.y + part.height == height) {
      jpeg_finish_decompress(&info_);
    } else {
      jpeg_abort_decompress(&info_);
    }
    return true;
  }

  void lenient(bool yes) { errors_.lenient = yes; }
  void abort() { jpeg_abort_decompress(&info_); }
  const char* message() const { return errors_.message; }
  const char* warning() const { return errors_.warning; }

 private:
  jpeg_decompress_struct info_{};
  ErrorManager errors_;
};

// Tables and memory of a decoder are kept: a tile is decoded in a third of a millisecond.
Session& session() {
  thread_local Session kept;
  return kept;
}

void open(const std::string& name, const JpegBytes& jpeg, Session& decoder) {
  // libjpeg would read two bytes before it asks how many there are.
  if (jpeg.size < 4) throw FormatError(name, "a JPEG image", std::to_string(jpeg.size) + " bytes");
  if (decoder.open(jpeg)) {
    const auto size = decoder.size();
    if (size.width * size.height <= kMostPixels) return;
    decoder.abort();
    throw FormatError(name, "an image of at most 2^28 pixels", std::to_string(size.width) + " x " + std::to_string(size.height));
  }
  decoder.abort();
  throw FormatError(name, "a JPEG image, grey or in colour", decoder.message());
}

}  // namespace

bool have_jpeg() { return true; }

ImageSize jpeg_size(const std::string& name, const JpegBytes& jpeg) {
  auto& decoder = session();
  decoder.lenient(true);
  open(name, jpeg, decoder);
  const auto size = decoder.size();
  decoder.abort();
  return size;
}

void jpeg_decode(const std::string& name, const JpegBytes& jpeg, const Rectangle& part, std::uint8_t* into, std::size_t stride,
                 const std::optional<ImageSize>& expected, std::vector<std::string>* salvaged, unsigned shrink) {
  auto& decoder = session();
  decoder.lenient(salvaged != nullptr);
  open(name, jpeg, decoder);
  const auto size = decoder.size();
  if (expected && (size.width != expected->width || size.height != expected->height || size.channels != expected->channels)) {
    decoder.abort();
    const auto text = [](const ImageSize& s) { return std::to_string(s.width) + " x " + std::to_string(s.height) + " x " + std::to_string(s.channels); };
    throw FormatError(name, "a JPEG image of " + text(*expected), text(size));
  }
  const auto shrunk = [shrink](std::int64_t side) { return (side + shrink - 1) / shrink; };
  const bool inside = part.x >= 0 && part.y >= 0 && part.width >= 1 && part.height >= 1 && part.x + part.width <= shrunk(size.width) &&
                      part.y + part.height <= shrunk(size.height);
  const bool whole = part.x == 0 && part.y == 0 && part.width == shrunk(size.width) && part.height == shrunk(size.height);
  if (!inside || (shrink > 1 && !whole)) {
    decoder.abort();
    throw ValueError(name + ": the part of a JPEG image must lie within it");
  }
  thread_local std::vector<std::uint8_t> row;
  row.resize(static_cast<std::size_t>(size.width * size.channels));
  const bool done = decoder.decode(part, into, stride, row.data(), shrink);
  if (!done) {
    decoder.abort();
    throw FormatError(name, "a sound JPEG image", decoder.message());
  }
  if (salvaged != nullptr && decoder.warning()[0] != 0) salvaged->emplace_back(decoder.warning());
}

#else

namespace {
[[noreturn]] void missing() {
  throw std::runtime_error("this build of sslmed has no libjpeg-turbo: install its headers (Debian: libjpeg62-turbo-dev, libpng-dev) and build sslmed again");
}
}  // namespace

bool have_jpeg() { return false; }
ImageSize jpeg_size(const std::string&, const JpegBytes&) { missing(); }
void jpeg_decode(const std::string&, const JpegBytes&, const Rectangle&, std::uint8_t*, std::size_t, const std::optional<ImageSize>&, std::vector<std::string>*,
                 unsigned) {
  missing();
}

#endif

}  // namespace sslmed::io
