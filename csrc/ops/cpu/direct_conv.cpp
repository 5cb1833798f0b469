#include "ops/cpu/direct_conv.h"

#include <algorithm>
#include <cstring>

#include "core/simd.h"

namespace sslmed::ops::cpu {
namespace {

constexpr int kOuts = 8;              // channels of a block of weights
constexpr std::int64_t kWidest = 32;  // cells of the widest tile

// Planes of the input with zeros around them, of which as many are kept as the kernel is long.
class PaddedPlanes {
 public:
  PaddedPlanes(const std::vector<ConvPart>& parts, const ConvPlan& plan) : parts_(parts), plan_(plan), before_{plan.kernel[1] / 2, plan.kernel[2] / 2} {
    row_ = (plan.size[2] + kWidest - 1) / kWidest * kWidest + 2 * before_[1];
    rows_ = plan.size[1] + 2 * before_[0];
    planes_.assign(static_cast<std::size_t>(plan.kernel[0] * plan.in * rows_ * row_), 0.0F);
  }

  std::int64_t row() const noexcept { return row_; }
  std::int64_t channel() const noexcept { return rows_ * row_; }
  // Plane z, where it is or comes to be; [in, rows, row].
  float* plane(std::int64_t z) noexcept { return planes_.data() + (z + plan_.kernel[0]) % plan_.kernel[0] * plan_.in * rows_ * row_; }

  void load(std::int64_t z) {
    float* into = plane(z);
    if (z < 0 || z >= plan_.size[0]) {
      std::memset(into, 0, static_cast<std::size_t>(plan_.in * channel()) * sizeof(float));
      return;
    }
    for (const auto& part : parts_)
      for (std::int64_t c = 0; c < part.channels; ++c, into += channel()) {
        const float* from = part.maps + (c * plan_.size[0] + z) * plan_.size[1] * plan_.size[2];
        for (std::int64_t y = 0; y < plan_.size[1]; ++y) load_row(from + y * plan_.size[2], part, c, into + (y + before_[0]) * row_ + before_[1]);
      }
  }

 private:
  void load_row(const float* from, const ConvPart& part, std::int64_t c, float* into) const {
    std::memcpy(into, from, static_cast<std::size_t>(plan_.size[2]) * sizeof(float));
    if (part.scale != nullptr) scale_shift_relu(into, plan_.size[2], part.scale[c], part.shift[c], plan_.slope);
  }

  const std::vector<ConvPart>& parts_;
  const ConvPlan& plan_;
  std::array<std::int64_t, 2> before_;
  std::int64_t row_ = 0, rows_ = 0;
  std::vector<float> planes_;
};

// Where a tile reads: for each plane of the kernel the input's first channel at the tile's first row and cell.
struct TileInput {
  const float* planes[3];
  std::int64_t channel, row, in;
  std::array<std::int64_t, 3> kernel;
};

// Sums of kBlock channels over kVectors registers of kLanes cells; weights [in, kernel…, 8] at the first of the channels.
// out: [kBlock][kVectors · kLanes].
template <int kLanes, int kBlock, int kVectors>
SSLMED_INLINE void conv_tile(const TileInput& input, const float* weights, float* out) {
  typedef float Lane __attribute__((vector_size(kLanes * sizeof(float))));
  typedef float Loose __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));
  Lane sums[kBlock][kVectors];
  for (auto& block : sums)
    for (auto& sum : block) sum = Lane{};
  for (std::int64_t c = 0; c < input.in; ++c)
    for (std::int64_t kz = 0; kz < input.kernel[0]; ++kz)
      for (std::int64_t ky = 0; ky < input.kernel[1]; ++ky) {
        const float* cells = input.planes[kz] + c * input.channel + ky * input.row;
        for (std::int64_t kx = 0; kx < input.kernel[2]; ++kx, weights += kOuts) {
          Lane x[kVectors];
          for (int v = 0; v < kVectors; ++v) x[v] = *reinterpret_cast<const Loose*>(cells + kx + v * kLanes);
          for (int o = 0; o < kBlock; ++o)
            for (int v = 0; v < kVectors; ++v) sums[o][v] += x[v] * weights[o];
        }
      }
  for (int o = 0; o < kBlock; ++o)
    for (int v = 0; v < kVectors; ++v) *reinterpret_cast<Loose*>(out + (o * kVectors + v) * kLanes) = sums[o][v];
}

// A row of the output: where channel 0 of the block is, and cells to the next channel.
struct RowOutput {
  float* first;
  std::int64_t channel, width, channels;
};

// One row of up to kBlock channels, in tiles of two registers; of one at the end where that is enough.
template <int kLanes, int kBlock>
SSLMED_INLINE void conv_row(const TileInput& input, const float* weights, const RowOutput& out) {
  float tile[kBlock * 2 * kLanes];
  auto here = input;
  for (std::int64_t x = 0; x < out.width;) {
    const bool wide = out.width - x > kLanes;
    const auto cells = std::min<std::int64_t>(wide ? 2 * kLanes : kLanes, out.width - x);
    if (wide) {
      conv_tile<kLanes, kBlock, 2>(here, weights, tile);
    } else {
      conv_tile<kLanes, kBlock, 1>(here, weights, tile);
    }
    const auto stride = (wide ? 2 : 1) * kLanes;
    for (std::int64_t o = 0; o < out.channels; ++o)
      for (std::int64_t i = 0; i < cells; ++i) out.first[o * out.channel + x + i] = tile[o * stride + i];
    for (auto& plane : here.planes)
      if (plane != nullptr) plane += cells;
    x += cells;
  }
}

using RowKernel = void (*)(const TileInput&, const float*, const RowOutput&);

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma"))) void conv_row_avx512(const TileInput& input, const float* weights, const RowOutput& out) {
  conv_row<16, kOuts>(input, weights, out);
}

RowKernel row_kernel() {
  static const RowKernel chosen = [] {
    __builtin_cpu_init();
    const bool has =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    return has ? static_cast<RowKernel>(conv_row_avx512) : static_cast<RowKernel>(nullptr);
  }();
  return chosen;
}
#else
RowKernel row_kernel() { return nullptr; }
#endif

SSLMED_CLONES Moments moments_of(const float* x, std::int64_t count) {
  float sum = 0, squares = 0;
  constexpr std::int64_t kParts = 16;
  float sums[kParts] = {}, twos[kParts] = {};
  const auto even = count / kParts * kParts;
  for (std::int64_t i = 0; i < even; i += kParts)
    for (std::int64_t j = 0; j < kParts; ++j) sums[j] += x[i + j];
  for (auto i = even; i < count; ++i) sum += x[i];
  for (const auto part : sums) sum += part;
  const float mean = sum / static_cast<float>(count);
  for (std::int64_t i = 0; i < even; i += kParts)
    for (std::int64_t j = 0; j < kParts; ++j) twos[j] += (x[i + j] - mean) * (x[i + j] - mean);
  for (auto i = even; i < count; ++i) squares += (x[i] - mean) * (x[i] - mean);
  for (const auto part : twos) squares += part;
  return {static_cast<double>(count), mean, squares};
}

}  // namespace

void Moments::join(const Moments& other) noexcept {
  if (other.count == 0) return;
  const auto both = count + other.count, apart = other.mean - mean;
  mean += apart * other.count / both;
  squares += other.squares + apart * apart * count * other.count / both;
  count = both;
}

bool has_direct_conv() { return row_kernel() != nullptr; }

std::vector<float> direct_conv_weights(const float* weight, const ConvPlan& plan) {
  const auto each = plan.in * plan.taps();
  std::vector<float> out(static_cast<std::size_t>((plan.out + kOuts - 1) / kOuts * kOuts * each), 0.0F);
  for (std::int64_t o = 0; o < plan.out; ++o)
    for (std::int64_t i = 0; i < each; ++i) out[static_cast<std::size_t>((o / kOuts * each + i) * kOuts + o % kOuts)] = weight[o * each + i];
  return out;
}

void direct_conv(const std::vector<ConvPart>& parts, const ConvPlan& plan, const float* weights, float* out, Moments* moments, std::int64_t begin,
                 std::int64_t end) {
  const auto kernel = row_kernel();
  const auto reach = plan.kernel[0] / 2;
  const auto [depth, height, width] = plan.size;
  PaddedPlanes input(parts, plan);
  for (auto z = begin - reach; z < begin + reach; ++z) input.load(z);
  for (auto z = begin; z < end; ++z) {
    input.load(z + reach);
    for (std::int64_t o = 0; o < plan.out; ++o) moments[o * depth + z] = {};
    for (std::int64_t y = 0; y < height; ++y) {
      TileInput tile{{}, input.channel(), input.row(), plan.in, plan.kernel};
      for (std::int64_t kz = 0; kz < plan.kernel[0]; ++kz) tile.planes[kz] = input.plane(z + kz - reach) + y * input.row();
      for (std::int64_t first = 0; first < plan.out; first += kOuts) {
        const auto channels = std::min<std::int64_t>(kOuts, plan.out - first);
        float* row = out + ((first * depth + z) * height + y) * width;
        kernel(tile, weights + first * plan.in * plan.taps(), {row, plan.cells(), width, channels});
        for (std::int64_t o = 0; o < channels; ++o) moments[(first + o) * depth + z].join(moments_of(row + o * plan.cells(), width));
      }
    }
  }
}

void plane_moments(const float* maps, const std::array<std::int64_t, 3>& size, Moments* moments, std::int64_t begin, std::int64_t end) {
  for (auto plane = begin * size[0]; plane < end * size[0]; ++plane) {
    moments[plane] = {};
    for (std::int64_t y = 0; y < size[1]; ++y) moments[plane].join(moments_of(maps + (plane * size[1] + y) * size[2], size[2]));
  }
}

SSLMED_CLONES void scale_shift_relu(float* x, std::int64_t count, float scale, float shift, float slope) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = x[i] * scale + shift;
    x[i] = value > 0 ? value : value * slope;
  }
}

SSLMED_CLONES void interleave(const float* rows, std::int64_t stride, std::int64_t count, std::int64_t width, float* out) {
  if (count == 2) {  // by itself, so that it is done with registers
    for (std::int64_t x = 0; x < width; ++x) {
      out[2 * x] = rows[x];
      out[2 * x + 1] = rows[stride + x];
    }
    return;
  }
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t x = 0; x < width; ++x) out[x * count + k] = rows[k * stride + x];
}

}  // namespace sslmed::ops::cpu
