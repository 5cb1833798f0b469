#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "core/error.h"
#include "masking/mask.h"

namespace sslmed::bindings {
namespace {

std::pair<at::Tensor, at::Tensor> random(std::int64_t n_tokens, double ratio, std::int64_t batch, std::uint64_t seed) {
  if (batch < 1) throw ValueError("batch must be positive, got " + std::to_string(batch));
  const py::gil_scoped_release release;
  const auto keep = masking::keep_count(n_tokens, ratio);
  auto kept = at::empty({batch, keep}, at::kLong), masked = at::empty({batch, n_tokens - keep}, at::kLong);
  auto *kept_at = kept.data_ptr<std::int64_t>(), *masked_at = masked.data_ptr<std::int64_t>();
  for (std::int64_t b = 0; b < batch; ++b)
    masking::random_mask(n_tokens, keep, {seed, 0, static_cast<std::uint64_t>(b)}, kept_at + b * keep, masked_at + b * (n_tokens - keep));
  return {kept, masked};
}

std::pair<at::Tensor, at::Tensor> block(const std::array<std::int64_t, 2>& grid, double ratio, std::int64_t batch, std::uint64_t seed, const std::string& axis,
                                        std::int32_t size) {
  if (batch < 1 || grid[0] < 1 || grid[1] < 1) throw ValueError("batch and grid must be positive");
  if (axis != "time" && axis != "channel") throw ValueError("axis must be 'time' or 'channel', got '" + axis + "'");
  const py::gil_scoped_release release;
  const std::int64_t n = grid[0] * grid[1], keep = masking::keep_count(n, ratio);
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) numbers[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(axis == "time" ? i % grid[1] : i / grid[1]);
  auto kept = at::empty({batch, keep}, at::kLong), masked = at::empty({batch, n - keep}, at::kLong);
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto mask = masking::block_mask(numbers, keep, size, {seed, 0, static_cast<std::uint64_t>(b)});
    std::copy(mask.keep.begin(), mask.keep.end(), kept.data_ptr<std::int64_t>() + b * keep);
    std::copy(mask.masked.begin(), mask.masked.end(), masked.data_ptr<std::int64_t>() + b * (n - keep));
  }
  return {kept, masked};
}

}  // namespace

void bind_masking(py::module_& m) {
  m.def("random_mask", &random, py::arg("n_tokens"), py::arg("ratio"), py::arg("batch"), py::arg("seed"));
  m.def("block_mask", &block, py::arg("grid"), py::arg("ratio"), py::arg("batch"), py::arg("seed"), py::arg("axis"), py::arg("block"));
  m.def(
      "philox",
      [](std::uint64_t seed, std::uint64_t epoch, std::uint64_t index, std::uint32_t stream, std::int64_t n) {
        Philox random({seed, epoch, index}, static_cast<Stream>(stream));
        std::vector<std::uint32_t> out(static_cast<std::size_t>(n));
        for (auto& value : out) value = random.next_u32();
        return out;
      },
      py::arg("seed"), py::arg("epoch"), py::arg("index"), py::arg("stream"), py::arg("n"), "The first n words of a draw, for tests and benchmarks.");
  m.def(
      "philox_sum",
      [](std::uint64_t seed, std::int64_t n) {
        Philox random({seed, 0, 0}, Stream::kMask);
        std::uint64_t sum = 0;
        for (std::int64_t i = 0; i < n; ++i) sum += random.next_u32();
        return sum;
      },
      py::arg("seed"), py::arg("n"), "Draws n words and adds them up: the generator's own speed, for benchmarks.");
}

}  // namespace sslmed::bindings
