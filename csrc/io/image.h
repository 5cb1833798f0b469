#pragma once
// Images of one piece: PNG, JPEG, TIFF and BMP, told apart by their first bytes and not by their names, and converted copies of
// formats that other packages read (io/picture_store.h). Pixels are as they are to be shown (EXIF).

#include <string>
#include <vector>

#include "io/png.h"

namespace sslmed::io {

struct ImageOptions {
  bool deep = false;         // 16-bit PNG stay so
  std::int64_t side = 0;     // what is going to be shrunk to this side may be decoded at 1/2, 1/4 or 1/8, while twice as many pixels are left (JPEG)
  bool longer = false;       // `side` is the longer one
  std::string voi = "auto";  // how gray values of DICOM radiographs become light: which of their copies is read
};

// FormatError naming the file where it is neither, damaged or cut. `salvaged` takes what was wrong and did not touch the pixels.
Image read_image(const std::string& path, const ImageOptions& options, std::vector<std::string>& salvaged);

}  // namespace sslmed::io
