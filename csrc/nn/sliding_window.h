#pragma once
// Prediction of arrays that are larger than what a network takes at once: overlapping windows, blended by weights.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace sslmed::nn {

enum class WindowWeights { kConstant, kGaussian };
// Where windows lie and what the Gaussian is.
// kMonai: steps of int(roi · (1 - overlap)), the last window moved back to the border; a Gaussian of σ = roi / 8 about the middle, at least .001.
// kNnunet: windows spread evenly; σ = roi / 8 about the cell roi / 2, times 10, rounded to half precision.
enum class WindowConvention { kMonai, kNnunet };

struct SlidingWindowOptions {
  std::vector<std::int64_t> roi;      // cells of a window along each axis, one number or one an axis; 0: the whole axis
  std::vector<double> overlap{0.25};  // of neighboring windows, within [0, 1), one number or one an axis
  WindowWeights weights = WindowWeights::kGaussian;
  WindowConvention convention = WindowConvention::kMonai;
  std::int64_t batch = 1;           // windows of a call
  std::vector<std::int64_t> flips;  // spatial axes: predictions of all flips along them are averaged
  double fill = 0;                  // of what windows show beyond a smaller array
  bool argmax = false;              // the class of each cell instead of the blended predictions
};

// First cells of the windows along one axis. size >= roi >= 1.
std::vector<std::int64_t> window_starts(std::int64_t size, std::int64_t roi, double overlap, WindowConvention convention);
// [roi…] float32.
at::Tensor window_weights(const std::vector<std::int64_t>& roi, WindowWeights weights, WindowConvention convention);

// Raises a ValueError where a prediction holds NaN, of which no class is the largest. `where` begins the sentence.
void refuse_nan(const at::Tensor& prediction, const char* where);

// [n, C, roi…] to [n, K, roi…].
using WindowPredictor = std::function<at::Tensor(const at::Tensor&)>;

// image [C, spatial…] of one to three axes → [K, spatial…] float32 (float64 of doubles), or with `argmax` [spatial…] uint8 (int32 of more than 256 classes).
// Rows of the first axis are finished one after the other: with `argmax` no more than a window's rows of all classes are held. `between` is called before
// each prediction (signals).
at::Tensor sliding_window(const at::Tensor& image, const WindowPredictor& predictor, const SlidingWindowOptions& options,
                          const std::function<void()>& between = {});

}  // namespace sslmed::nn
