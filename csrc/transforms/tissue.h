#pragma once
// Where a slide has tissue, from a picture of it at some µm per pixel. Any stain counts, brown included; pen and what is out of focus do not. Tinted glass
// counts as white: colours are those that the picture would have on it.

#include <cstdint>
#include <vector>

namespace sslmed::transforms {

enum class TissueMethod {
  kOtsu,       // saturation above Otsu's threshold, which is kept within [8, 20] of 255: a picture without background has no valley
  kClam,       // saturation above 8, as CLAM's default has it
  kLuminance,  // luminance below Otsu's threshold, which is kept within [.7, .92]: finds black and grey tissue as well
};

struct TissueOptions {
  TissueMethod method = TissueMethod::kOtsu;
  int median = 7;           // pixels: side of the window whose median is thresholded; 1: none
  int close = 4;            // pixels: side of the square that closes gaps; 1: none
  std::int64_t least = 64;  // pixels: smaller pieces go
  std::int64_t hole = 64;   // pixels: smaller holes are filled
  bool pen = true;          // ink goes, and `margin` pixels around it
  int margin = 8;           // pixels
  double sharpness = 2;     // mean absolute Laplacian of the luminance (0-255) over 17 x 17 pixels that tissue has at least; 0: any
};

// One byte a pixel of rgb [height, width, 3]: 1 where there is tissue.
std::vector<std::uint8_t> tissue_mask(const std::uint8_t* rgb, std::int64_t width, std::int64_t height, const TissueOptions& options);

// Colours that no stain has and pens do: green, strong blue, strong red, black.
bool is_ink(int red, int green, int blue);

// The threshold that separates a histogram best (Otsu, 1979): values above it are one class.
int otsu_threshold(const std::vector<std::int64_t>& histogram);

}  // namespace sslmed::transforms
