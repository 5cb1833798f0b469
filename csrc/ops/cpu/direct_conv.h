#pragma once
// Convolutions of few channels over large maps, for prediction: libraries fill their registers with channels, of which
// the fine levels of a U-Net have fewer than a register has lanes; here neighboring cells fill them. Normalization and
// leaky ReLU of what comes in are applied on the way, and the moments of what goes out are taken, so that a norm costs no
// pass over the maps.

#include <array>
#include <cstdint>
#include <vector>

namespace sslmed::ops::cpu {

// Maps [channels, D, H, W] of the input; where `scale` is given, [channels] each, leaky_relu(x · scale + shift) of them.
struct ConvPart {
  const float* maps;
  std::int64_t channels;
  const float* scale;
  const float* shift;
};

// Stride 1, and as many zeros around the maps as keep their size: kernels are 1 or 3 long along each axis.
struct ConvPlan {
  std::int64_t in, out;
  std::array<std::int64_t, 3> size, kernel;
  float slope;  // of the leaky ReLU

  std::int64_t taps() const noexcept { return kernel[0] * kernel[1] * kernel[2]; }
  std::int64_t cells() const noexcept { return size[0] * size[1] * size[2]; }
};

// The mean of some cells, and the sum of squares about it.
struct Moments {
  double count = 0, mean = 0, squares = 0;
  void join(const Moments& other) noexcept;
};

// Whether this processor has the instructions (AVX-512).
bool has_direct_conv();

// weight [out, in, kernel…] in the order in which it is read: [⌈out / 8⌉, in, kernel…, 8].
std::vector<float> direct_conv_weights(const float* weight, const ConvPlan& plan);

// Planes [begin, end) of the first axis of out [out, D, H, W]. moments [out, D]: of each plane. Planes do not depend on each other.
void direct_conv(const std::vector<ConvPart>& parts, const ConvPlan& plan, const float* weights, float* out, Moments* moments, std::int64_t begin,
                 std::int64_t end);

// moments [channels, D] of maps [channels, D, H, W], channels [begin, end).
void plane_moments(const float* maps, const std::array<std::int64_t, 3>& size, Moments* moments, std::int64_t begin, std::int64_t end);

// leaky_relu(x · scale + shift) in place.
void scale_shift_relu(float* x, std::int64_t count, float scale, float shift, float slope);

// out[x · count + k] = rows[k · stride + x] for the `count` rows of `width` numbers.
void interleave(const float* rows, std::int64_t stride, std::int64_t count, std::int64_t width, float* out);

}  // namespace sslmed::ops::cpu
