#include "catch.h"
#include "nn/sliding_window.h"

using namespace sslmed::nn;

namespace {

SlidingWindowOptions windows_of(std::vector<std::int64_t> roi, double overlap = 0.25) {
  SlidingWindowOptions options;
  options.roi = std::move(roi);
  options.overlap = {overlap};
  return options;
}

// A predictor without memory of place: what is blended must be what it says of each cell.
at::Tensor cell_by_cell(const at::Tensor& x) { return at::cat({x, x.square(), x.narrow(1, 0, 1) - 1}, 1); }

}  // namespace

TEST_CASE("a predictor that looks at single cells gives the same by windows") {
  for (const auto convention : {WindowConvention::kMonai, WindowConvention::kNnunet})
    for (const auto weights : {WindowWeights::kConstant, WindowWeights::kGaussian})
      for (const auto& size : {std::vector<std::int64_t>{2, 23}, {2, 9, 14}, {2, 5, 20, 11}}) {
        auto options = windows_of({8}, 0.4);
        options.convention = convention, options.weights = weights, options.batch = 3;
        options.flips = {0};
        const auto image = at::randn(size);
        const auto expected = cell_by_cell(image.unsqueeze(0))[0];
        CHECK(at::allclose(sliding_window(image, cell_by_cell, options), expected, 1e-5, 1e-5));
        options.argmax = true;
        const auto classes = sliding_window(image, cell_by_cell, options);
        CHECK(classes.scalar_type() == at::kByte);
        CHECK(classes.to(at::kLong).eq(expected.argmax(0)).to(at::kDouble).mean().item<double>() > 0.999);
      }
}

TEST_CASE("windows cover every cell, the last one to the border") {
  for (const auto convention : {WindowConvention::kMonai, WindowConvention::kNnunet})
    for (std::int64_t roi = 1; roi < 9; ++roi)
      for (std::int64_t size = roi; size < 40; ++size)
        for (const double overlap : {0.0, 0.25, 0.5, 0.9}) {
          const auto starts = window_starts(size, roi, overlap, convention);
          REQUIRE(starts.front() == 0);
          REQUIRE(starts.back() == size - roi);
          for (std::size_t i = 1; i < starts.size(); ++i) REQUIRE((starts[i] >= starts[i - 1] && starts[i] <= starts[i - 1] + roi));
        }
}

TEST_CASE("weights are largest in the middle and nowhere zero") {
  for (const auto convention : {WindowConvention::kMonai, WindowConvention::kNnunet}) {
    const auto weights = window_weights({16, 9}, WindowWeights::kGaussian, convention);
    CHECK(weights.sizes() == at::IntArrayRef({16, 9}));
    CHECK(weights.min().item<double>() > 0);
    CHECK(weights[8][4].item<double>() == weights.max().item<double>());
  }
  CHECK(window_weights({3}, WindowWeights::kConstant, WindowConvention::kMonai).eq(1).all().item<bool>());
}

TEST_CASE("what lies beyond a small image is `fill`, and is cut off") {
  auto options = windows_of({8, 8});
  options.fill = 7;
  std::int64_t seen = 0;
  const auto out = sliding_window(at::zeros({1, 3, 5}), [&](const at::Tensor& x) { return seen += x.eq(7).sum().item<std::int64_t>(), x; }, options);
  CHECK(out.sizes() == at::IntArrayRef({1, 3, 5}));
  CHECK(seen == 64 - 15);
}

TEST_CASE("the callback between windows stops them") {
  int calls = 0;
  const auto stop = [&] {
    if (++calls == 2) throw std::runtime_error("stopped");
  };
  CHECK_THROWS_WITH(sliding_window(at::zeros({1, 40}), [](const at::Tensor& x) { return x; }, windows_of({8}), stop), "stopped");
}

TEST_CASE("windows that cannot be are refused") {
  const auto same = [](const at::Tensor& x) { return x; };
  CHECK_THROWS_WITH(sliding_window(at::zeros({4}), same, windows_of({8})), Catch::Contains("image must be"));
  CHECK_THROWS_WITH(sliding_window(at::zeros({1, 4}), same, windows_of({8}, 1)), Catch::Contains("overlap=1"));
  CHECK_THROWS_WITH(sliding_window(at::zeros({1, 4, 4}), same, windows_of({8, 8, 8})), Catch::Contains("roi has 3 numbers"));
  CHECK_THROWS_WITH(sliding_window(at::zeros({1, 4}), [](const at::Tensor& x) { return x.sum(); }, windows_of({2})), Catch::Contains("predictor must give"));
  auto twice = windows_of({2});
  twice.flips = {0, 0};
  CHECK_THROWS_WITH(sliding_window(at::zeros({1, 4}), same, twice), Catch::Contains("twice"));
}
