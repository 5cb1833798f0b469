#include "io/png.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/error.h"
#include "io/jpeg.h"

#ifdef SSLMED_IMAGES
#include <png.h>

#include <csetjmp>
#endif

namespace sslmed::io {

void to_bytes(Image& image, std::vector<std::string>& salvaged, bool full) {
  if (image.depth != 16) return;
  const auto channels = static_cast<std::size_t>(image.channels), colours = channels - (channels % 2 == 0 ? 1 : 0);
  const auto n = image.bytes.size() / 2;
  const auto value = [&](std::size_t i) {
    std::uint16_t v = 0;
    std::memcpy(&v, image.bytes.data() + 2 * i, 2);
    return static_cast<unsigned>(v);
  };
  unsigned most = 0;
  for (std::size_t i = 0; i < n; ++i)
    if (i % channels < colours) most = std::max(most, value(i));
  // Detectors and microscopes have 8 to 15 bits, and put them into the low ones of 16.
  unsigned bits = 16;
  for (const unsigned usual : {15U, 14U, 12U, 10U, 8U})
    if (!full && most > 0 && most < (1U << usual)) bits = usual;
  const auto scaled = [](unsigned v, unsigned of) { return static_cast<std::uint8_t>((2 * v * 255 + of) / (2 * of)); };
  for (std::size_t i = 0; i < n; ++i) {
    const auto v = value(i);
    image.bytes[i] = scaled(v, i % channels < colours ? (1U << bits) - 1 : 65535U);
  }
  image.bytes.resize(n);
  image.depth = 8;
  if (bits < 16)
    salvaged.push_back("16-bit values that end at " + std::to_string(most) + " are taken for " + std::to_string(bits) + " bits, so that 0 to " +
                       std::to_string((1U << bits) - 1) + " became 0 to 255");
}

#ifdef SSLMED_IMAGES
namespace {

// libpng leaves by longjmp, as libjpeg does (io/jpeg.cpp): no destructors between.
struct Decoder {
  explicit Decoder(const std::vector<std::uint8_t>& bytes) : left(bytes.data()), size(bytes.size()) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info == nullptr) throw std::bad_alloc();
    png_set_read_fn(png, this, read);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_user_limits(png, 1 << 24, 1 << 24);
    png_set_option(png, PNG_SKIP_sRGB_CHECK_PROFILE, PNG_OPTION_ON);  // colour profiles are not applied
  }
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  bool header() {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_read_info(png, info);
    png_set_expand(png);  // palettes, few bits, a transparent colour
    if (png_get_bit_depth(png, info) == 16) png_set_swap(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return true;
  }

  bool pixels(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_read_image(png, rows);
    png_read_end(png, nullptr);
    return true;
  }

  static void on_error(png_structp png, png_const_charp text) {
    keep(static_cast<Decoder*>(png_get_error_ptr(png))->message, text);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp png, png_const_charp text) {
    auto* self = static_cast<Decoder*>(png_get_error_ptr(png));
    if (self->warning[0] == 0) keep(self->warning, text);
  }
  static void keep(char (&into)[128], const char* text) {
    std::strncpy(into, text, sizeof into - 1);
    into[sizeof into - 1] = 0;
  }
  static void read(png_structp png, png_bytep into, std::size_t n) {
    auto* self = static_cast<Decoder*>(png_get_io_ptr(png));
    if (n > self->size) png_error(png, "it ends early");
    std::memcpy(into, self->left, n);
    self->left += n;
    self->size -= n;
  }

  png_structp png = nullptr;
  png_infop info = nullptr;
  const std::uint8_t* left;
  std::size_t size;
  char message[128]{}, warning[128]{};
};

}  // namespace

Image decode_png(const std::string& name, const std::vector<std::uint8_t>& png, bool deep, std::vector<std::string>& salvaged) {
  Decoder decoder(png);
  const auto fail = [&] { throw FormatError(name, "a whole PNG image", decoder.message); };
  if (!decoder.header()) fail();
  Image image;
  image.width = png_get_image_width(decoder.png, decoder.info);
  image.height = png_get_image_height(decoder.png, decoder.info);
  image.channels = png_get_channels(decoder.png, decoder.info);
  image.depth = png_get_bit_depth(decoder.png, decoder.info);
  const auto stride = png_get_rowbytes(decoder.png, decoder.info);
  // Deflate shrinks by a factor of 1,032 at most, and each value has a bit at least: what claims more is not there.
  const auto most = static_cast<std::uint64_t>(png.size()) * 1032 * 8;
  if (image.width * image.height > kMostPixels || static_cast<std::uint64_t>(image.width) * static_cast<std::uint64_t>(image.height) > most)
    throw FormatError(name, "an image of at most 2^28 pixels that " + std::to_string(png.size()) + " bytes can hold",
                      std::to_string(image.width) + " x " + std::to_string(image.height));
  image.bytes.resize(stride * static_cast<std::size_t>(image.height));
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = image.bytes.data() + y * stride;
  if (!decoder.pixels(rows.data())) fail();
  if (decoder.warning[0] != 0) salvaged.emplace_back(decoder.warning);
  if (!deep) to_bytes(image, salvaged);
  return image;
}

#else

Image decode_png(const std::string&, const std::vector<std::uint8_t>&, bool, std::vector<std::string>&) {
  throw std::runtime_error("this build of sslmed has no libpng: install its headers (Debian: libpng-dev, libjpeg62-turbo-dev) and build sslmed again");
}

#endif

}  // namespace sslmed::io
