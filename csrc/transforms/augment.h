#pragma once
// Random changes of pictures, drawn from one sequence of numbers: the same draw gives the same picture in any thread.

#include <array>
#include <cstdint>

#include "core/random.h"
#include "transforms/augment_plan.h"

namespace sslmed::transforms {

struct Augmentation {
  // Random resized crop: share of the picture's area, and width by height. With both areas 1 pixels keep their size, and the place alone is random.
  double area_low = 1, area_high = 1, aspect_low = 3.0 / 4, aspect_high = 4.0 / 3;
  bool flips = false;                                            // left and right, top and bottom, each half of the time
  bool turns = false;                                            // by quarters
  double macenko = 0;                                            // densities of the picture's own two stains times 1 ± macenko, plus 0 ± macenko / 2
  double hed = 0;                                                // densities of haematoxylin, eosin and DAB times 1 ± hed, plus 0 ± hed
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;  // factors 1 ± …, a turn of 0 ± hue; in random order
  double jitter = 1;                                             // how often those four come
  double grey = 0, blur = 0, solarise = 0;                       // how often
  double blur_low = 0.1, blur_high = 2;                          // pixels: the blur's sigma
};

// ValueError where a number is out of range.
void check(const Augmentation& augmentation);

// From pixels of a result to those of what it was made of: x = m[0] u + m[1] v + m[2], y = m[3] u + m[4] v + m[5].
using Affine = std::array<double, 6>;

// What is cut out, where no resized crop is asked for.
struct Frame {
  std::int64_t size = 224;  // pixels of the result's sides
  double zoom = 1;          // pixels of the picture that one of them is wide
  bool middle = false;      // of the picture; otherwise anywhere
};

// ValueError where a number is out of range, or the frame says where and the augmentation resizes crops.
void check(const Frame& frame, const Augmentation& augmentation);

// What is done to a picture of this size: all that is random of it. ValueError where the picture is smaller than the frame.
AugmentPlan plan(std::int64_t width, std::int64_t height, const Augmentation& how, const Frame& frame, Philox& random);

// Where the result's pixels lie in the picture.
Affine place_of(const AugmentPlan& plan);

// rgb [size, size, 3] → its squares of `patch` pixels, row by row, into [(size / patch)², patch, patch, 3].
void to_squares(const std::uint8_t* rgb, std::int64_t size, std::int64_t patch, std::uint8_t* into);

// source [height, width, 3] → into [size, size, 3].
void apply(const AugmentPlan& plan, const std::uint8_t* source, std::int64_t width, std::int64_t height, std::uint8_t* into);

}  // namespace sslmed::transforms
