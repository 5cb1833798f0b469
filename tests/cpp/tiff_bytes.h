#pragma once
// JPEG streams and tiled TIFF files for tests, made here so that their pixels are known.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
// After <cstdio>.
#include <jpeglib.h>

namespace sslmed::testing {

using Bytes = std::vector<std::uint8_t>;

// Smooth colours with some grain, RGB.
inline Bytes scene(int width, int height, unsigned seed = 1) {
  Bytes pixels(static_cast<std::size_t>(3 * width * height));
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        seed = seed * 1664525U + 1013904223U;
        pixels[static_cast<std::size_t>(3 * (y * width + x) + c)] =
            static_cast<std::uint8_t>(128 + ((x * (c + 2) + y * (3 - c)) % 90) - 45 + static_cast<int>(seed >> 28));
      }
    }
  }
  return pixels;
}

inline Bytes jpeg_of(const Bytes& rgb, int width, int height, int sampling = 2, bool progressive = false) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 85, TRUE);
  info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = sampling;
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<std::uint8_t*>(rgb.data()) + static_cast<std::size_t>(3 * width) * info.next_scanline;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  Bytes bytes(out, out + size);
  jpeg_destroy_compress(&info);
  std::free(out);
  return bytes;
}

// A little-endian classic TIFF with one directory of JPEG tiles in YCbCr.
inline Bytes tiff_of(const Bytes& rgb, int width, int height, int tile) {
  Bytes out{'I', 'I', 42, 0, 0, 0, 0, 0};
  const auto put = [&](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  };
  std::vector<std::uint32_t> offsets, sizes;
  for (int y = 0; y < height; y += tile) {
    for (int x = 0; x < width; x += tile) {
      Bytes part(static_cast<std::size_t>(3 * tile * tile), 128);
      for (int row = 0; row < tile && y + row < height; ++row)
        std::memcpy(part.data() + 3 * row * tile, rgb.data() + 3 * ((y + row) * width + x),
                    static_cast<std::size_t>(3 * (x + tile > width ? width - x : tile)));
      const auto jpeg = jpeg_of(part, tile, tile);
      offsets.push_back(static_cast<std::uint32_t>(out.size()));
      sizes.push_back(static_cast<std::uint32_t>(jpeg.size()));
      out.insert(out.end(), jpeg.begin(), jpeg.end());
    }
  }
  const auto at = static_cast<std::uint32_t>(out.size());
  for (const auto& list : {offsets, sizes})
    for (const auto value : list) put(value, 4);
  const auto n = static_cast<std::uint32_t>(offsets.size()), directory = static_cast<std::uint32_t>(out.size());
  for (int i = 0; i < 4; ++i) out[static_cast<std::size_t>(4 + i)] = static_cast<std::uint8_t>(directory >> (8 * i));
  const auto side = static_cast<std::uint32_t>(tile);
  const std::uint32_t tags[][3] = {{256, 1, static_cast<std::uint32_t>(width)},
                                   {257, 1, static_cast<std::uint32_t>(height)},
                                   {258, 1, 8},
                                   {259, 1, 7},
                                   {262, 1, 6},
                                   {277, 1, 3},
                                   {322, 1, side},
                                   {323, 1, side},
                                   {324, n, n == 1 ? offsets[0] : at},
                                   {325, n, n == 1 ? sizes[0] : at + 4 * n}};
  put(static_cast<std::uint32_t>(std::size(tags)), 2);
  for (const auto& [tag, count, value] : tags) {
    put(tag, 2);
    put(4, 2);
    put(count, 4);
    put(value, 4);
  }
  put(0, 4);
  return out;
}

}  // namespace sslmed::testing
