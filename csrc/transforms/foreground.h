#pragma once
// Which cells of a volume show a body, where nobody drew a mask.

#include <array>
#include <cstdint>
#include <vector>

namespace sslmed::transforms {

// 1 where a volume [X, Y, Z] shows something. A background of one value (all corners have it, and a tenth of the cells
// are connected with the border through it) is what was masked out, unless what is left has air in it, as raw images
// have whose rim or noise floor a scanner set to zero: everything else is foreground. Otherwise Otsu's threshold, and of
// what is brighter the largest connected piece. Holes are filled. All 0 where the volume is constant.
std::vector<std::uint8_t> foreground(const std::vector<float>& values, const std::array<std::int64_t, 3>& shape);

// Sets holes: 0 that no path through 0 along the axes leads out of the volume.
void fill_holes(std::vector<std::uint8_t>& mask, const std::array<std::int64_t, 3>& shape);

}  // namespace sslmed::transforms
