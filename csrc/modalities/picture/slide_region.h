#pragma once
// Regions of slides at any scale.

#include <array>
#include <cstdint>

#include "io/slide.h"

namespace sslmed::picture {

// RGB [height, width, 3]; the corner (x, y) is in pixels of level 0, fractions allowed, and each output pixel is the mean over the
// `pixel` = {x, y} level-0 pixels that it covers, taken from the coarsest level that is not coarser.
void read_area(const io::Slide& slide, double x, double y, std::array<double, 2> pixel, std::int64_t width, std::int64_t height, std::uint8_t* into);

// The corner in pixels of level 0, moved back by less than a pixel of the level that read_area() takes, to where one begins: regions at that level's
// own scale are then copied, and not blurred by averaging over parts of pixels.
std::array<double, 2> whole_corner(const io::Slide& slide, double x, double y, std::array<double, 2> pixel);

// The same at `mpp` µm per pixel. ValueError where the slide's scale is not known, or is more than twice as coarse as what is asked for.
void read_mpp(const io::Slide& slide, double x, double y, double mpp, std::int64_t width, std::int64_t height, std::uint8_t* into);

// Width and height of the whole slide when it is shrunk, never grown, into max_width x max_height.
std::array<std::int64_t, 2> thumbnail_size(const io::Slide& slide, std::int64_t max_width, std::int64_t max_height);
// The whole slide as RGB [height, width, 3].
void read_thumbnail(const io::Slide& slide, std::int64_t width, std::int64_t height, std::uint8_t* into);

}  // namespace sslmed::picture
