#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "core/error.h"
#include "masking/mask.h"
#include "masking/multiblock_mask.h"

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
    std::copy(mask.visible.begin(), mask.visible.end(), kept.data_ptr<std::int64_t>() + b * keep);
    std::copy(mask.masked.begin(), mask.masked.end(), masked.data_ptr<std::int64_t>() + b * (n - keep));
  }
  return {kept, masked};
}

std::pair<at::Tensor, at::Tensor> multiblock(const std::array<std::int64_t, 2>& grid, std::int64_t batch, std::uint64_t seed, const std::string& mode) {
  if (batch < 1) throw ValueError("batch must be positive, got " + std::to_string(batch));
  if (mode != "exact" && mode != "unbiased") throw ValueError("mode must be 'exact' or 'unbiased', got '" + mode + "'");
  const py::gil_scoped_release release;
  const bool exact = mode == "exact";
  const masking::MultiblockMask mask(grid[0], grid[1], exact ? masking::Placement::kExact : masking::Placement::kUnbiased, {seed, 0, 0});
  auto targets = at::empty({batch, mask.targets(), mask.target_size()}, at::kLong);
  auto* targets_at = targets.data_ptr<std::int64_t>();
  const std::int64_t room = mask.cells() + 1, block = mask.targets() * mask.target_size();
  std::vector<std::int64_t> contexts(static_cast<std::size_t>(batch * room)), sizes;
  for (std::int64_t b = 0; b < batch; ++b)
    sizes.push_back(mask.draw({seed, 0, static_cast<std::uint64_t>(b)}, targets_at + b * block, contexts.data() + b * room));
  // One size for the batch: the published code cuts off each context's last rows, the other mode leaves out random cells.
  const std::int64_t keep = *std::min_element(sizes.begin(), sizes.end());
  auto context = at::empty({batch, keep}, at::kLong);
  auto* context_at = context.data_ptr<std::int64_t>();
  std::vector<std::int64_t> places(static_cast<std::size_t>(mask.cells())), rest(static_cast<std::size_t>(mask.cells()));
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto* own = contexts.data() + b * room;
    const auto size = sizes[static_cast<std::size_t>(b)];
    if (exact || size == keep) {
      std::copy_n(own, keep, context_at + b * keep);
    } else {
      masking::random_mask(size, keep, {seed, 0, static_cast<std::uint64_t>(b)}, places.data(), rest.data(), Stream::kSubset);
      for (std::int64_t i = 0; i < keep; ++i) context_at[b * keep + i] = own[places[static_cast<std::size_t>(i)]];
    }
  }
  return {context, targets};
}

}  // namespace

void bind_masking(py::module_& m) {
  m.def("random_mask", &random, py::arg("n_tokens"), py::arg("ratio"), py::arg("batch"), py::arg("seed"));
  m.def("block_mask", &block, py::arg("grid"), py::arg("ratio"), py::arg("batch"), py::arg("seed"), py::arg("axis"), py::arg("block"));
  m.def("multiblock_mask", &multiblock, py::arg("grid"), py::arg("batch"), py::arg("seed"), py::arg("mode"));
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
