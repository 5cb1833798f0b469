#pragma once
// Images of one piece: PNG and JPEG, told apart by their first bytes and not by their names.

#include <string>
#include <vector>

#include "io/png.h"

namespace sslmed::io {

// FormatError naming the file where it is neither, damaged or cut. `deep`: 16-bit PNG stay so. `salvaged` takes what was wrong and did
// not touch the pixels.
Image read_image(const std::string& path, bool deep, std::vector<std::string>& salvaged);

}  // namespace sslmed::io
