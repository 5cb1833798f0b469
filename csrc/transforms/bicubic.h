#pragma once
// Antialiased bicubic resampling of a box, with Pillow's arithmetic: horizontally, then vertically, each pass rounded to bytes.

#include <cstdint>

namespace sslmed::transforms {

struct Box {
  double x = 0, y = 0, width = 0, height = 0;  // source pixels, fractions allowed
};

// `box` of source [height, width, channels] → into [out_height, out_width, channels]. ValueError where the box is not within the source.
void resize_bicubic(const std::uint8_t* source, std::int64_t width, std::int64_t height, std::int64_t channels, const Box& box, std::int64_t out_width,
                    std::int64_t out_height, std::uint8_t* into);

// The most source pixels that a pixel is made of, when `length` of them become `out`.
std::int64_t most_taps(double length, std::int64_t out);
// ValueError where it is not within a picture of this size.
void check_box(const Box& box, std::int64_t width, std::int64_t height);

}  // namespace sslmed::transforms
