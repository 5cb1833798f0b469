#pragma once
// Changes of light and colour that augmentations are made of. Pictures are RGB, 8 bits, and change in place; results are rounded.
// The arithmetic is torchvision's of tensors, which cuts fractions off where we round.

#include <cstdint>
#include <vector>

namespace sslmed::transforms {

void adjust_brightness(std::uint8_t* rgb, std::int64_t pixels, double factor);  // 0: black, 1: as it is
void adjust_contrast(std::uint8_t* rgb, std::int64_t pixels, double factor);    // about the picture's mean grey
void adjust_saturation(std::uint8_t* rgb, std::int64_t pixels, double factor);  // about each pixel's grey
void adjust_hue(std::uint8_t* rgb, std::int64_t pixels, double turn);           // of a full turn, within [-0.5, 0.5]
void to_grey(std::uint8_t* rgb, std::int64_t pixels);
void solarise(std::uint8_t* rgb, std::int64_t pixels, int threshold);  // values from the threshold on are inverted

// Gaussian of `side` (odd) taps, edges mirrored without the edge pixel, as torchvision has it. ValueError where a side of the picture is
// not larger than half of it.
void gaussian_blur(std::uint8_t* rgb, std::int64_t width, std::int64_t height, int side, double sigma);

// Its taps in 32768ths, from the middle to the last that weighs something, the same on both sides. Where that is the middle there is nothing to do, and
// nothing in it. ValueError on an even side or a sigma that is not positive.
std::vector<std::int16_t> blur_weights(int side, double sigma);

void flip_horizontally(std::uint8_t* rgb, std::int64_t width, std::int64_t height);
void flip_vertically(std::uint8_t* rgb, std::int64_t width, std::int64_t height);
// `turns` quarters of a turn, counter-clockwise, into [width, height, 3] where they are odd.
void rotate_quarters(const std::uint8_t* rgb, std::int64_t width, std::int64_t height, int turns, std::uint8_t* into);

}  // namespace sslmed::transforms
