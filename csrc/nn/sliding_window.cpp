#include "nn/sliding_window.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace sslmed::nn {
namespace {

constexpr double kWindowSigma = 1.0 / 8;
constexpr double kLeastWeight = 1e-3;  // MONAI's
constexpr double kNnunetPeak = 10;     // nnU-Net's value_scaling_factor

template <class Value>
std::vector<Value> for_axes(const std::vector<Value>& given, std::size_t rank, const char* name) {
  TORCH_CHECK_VALUE(given.size() == 1 || given.size() == rank, "sliding_window: ", name, " has ", given.size(), " numbers, expected one, or one for each of ",
                    rank, " axes");
  return given.size() == rank ? given : std::vector<Value>(rank, given[0]);
}

struct WindowPlan {
  std::vector<std::int64_t> roi, size, before;  // of the array with what is added before and after it
  std::vector<std::vector<std::int64_t>> starts;
};

WindowPlan window_plan(const at::Tensor& image, const SlidingWindowOptions& options) {
  TORCH_CHECK_VALUE(image.dim() >= 2 && image.dim() <= 4, "sliding_window: image must be [C, 1 to 3 spatial axes], got ", image.sizes());
  TORCH_CHECK_VALUE(image.numel() > 0, "sliding_window: image is empty, got ", image.sizes());
  TORCH_CHECK_VALUE(options.batch > 0, "sliding_window: batch=", options.batch, " must be at least 1");
  const auto rank = static_cast<std::size_t>(image.dim()) - 1;
  const auto overlap = for_axes(options.overlap, rank, "overlap");
  WindowPlan plan;
  plan.roi = for_axes(options.roi, rank, "roi");
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const auto cells = image.size(static_cast<std::int64_t>(axis) + 1);
    TORCH_CHECK_VALUE(plan.roi[axis] >= 0, "sliding_window: roi=", plan.roi[axis], " must not be negative; 0: the whole axis");
    TORCH_CHECK_VALUE(overlap[axis] >= 0 && overlap[axis] < 1, "sliding_window: overlap=", overlap[axis], " must be within [0, 1)");
    if (plan.roi[axis] == 0) plan.roi[axis] = cells;
    plan.size.push_back(std::max(cells, plan.roi[axis]));
    plan.before.push_back((plan.size[axis] - cells) / 2);
    plan.starts.push_back(window_starts(plan.size[axis], plan.roi[axis], overlap[axis], options.convention));
  }
  for (std::size_t i = 0; i < options.flips.size(); ++i) {
    const auto axis = options.flips[i];
    TORCH_CHECK_VALUE(axis >= 0 && axis < static_cast<std::int64_t>(rank), "sliding_window: flips=", axis, " must be a spatial axis from 0 to ", rank - 1);
    TORCH_CHECK_VALUE(std::count(options.flips.begin(), options.flips.end(), axis) == 1, "sliding_window: flips has axis ", axis, " twice");
  }
  return plan;
}

// The image with cells of `fill` around it where it is smaller than a window.
at::Tensor padded(const at::Tensor& image, const WindowPlan& plan, double fill) {
  const auto spatial = image.sizes().slice(1);
  if (spatial == at::IntArrayRef(plan.size)) return image;
  auto shape = plan.size;
  shape.insert(shape.begin(), image.size(0));
  auto out = at::full(shape, fill, image.options());
  auto inside = out;
  for (std::size_t axis = 0; axis < plan.size.size(); ++axis) inside = inside.narrow(static_cast<std::int64_t>(axis) + 1, plan.before[axis], spatial[axis]);
  inside.copy_(image);
  return out;
}

// The part of x [n, spatial…] that starts at `first`.
at::Tensor window_at(const at::Tensor& x, const std::vector<std::int64_t>& first, const std::vector<std::int64_t>& roi) {
  auto out = x;
  for (std::size_t axis = 0; axis < roi.size(); ++axis) out = out.narrow(static_cast<std::int64_t>(axis) + 1, first[axis], roi[axis]);
  return out;
}

// Predictions averaged over all flips along the axes.
at::Tensor flipped_mean(const at::Tensor& windows, const WindowPredictor& predictor, const std::vector<std::int64_t>& axes) {
  auto sum = predictor(windows);
  for (std::size_t subset = 1; subset < (std::size_t{1} << axes.size()); ++subset) {
    std::vector<std::int64_t> turned;
    for (std::size_t i = 0; i < axes.size(); ++i)
      if ((subset >> i) & 1) turned.push_back(axes[i] + 2);
    sum = sum + predictor(windows.flip(turned)).flip(turned);
  }
  return axes.empty() ? sum : sum / static_cast<double>(std::size_t{1} << axes.size());
}

// Sums of weighted predictions. Windows come in the order of their first row; rows that no later window reaches are finished.
class WindowBlend {
 public:
  WindowBlend(const WindowPlan& plan, at::Tensor weights, bool argmax) : plan_(plan), weights_(std::move(weights)), argmax_(argmax) {}

  // prediction [K, roi…] of the window at `first`.
  void add(const at::Tensor& prediction, const std::vector<std::int64_t>& first) {
    if (!sums_.defined()) start(prediction);
    if (first[0] > row_) finish(first[0]);
    auto place = first;
    place[0] = argmax_ ? 0 : first[0];
    window_at(sums_, place, plan_.roi).addcmul_(prediction.to(sums_.scalar_type()), weights_);
    place[0] = 0;
    window_at(counts_, place, plan_.roi).add_(weights_);
  }

  at::Tensor take() {
    finish(plan_.size[0]);
    return argmax_ ? classes_ : sums_;
  }

 private:
  void start(const at::Tensor& prediction) {
    const auto type = prediction.options().dtype(prediction.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    weights_ = weights_.to(type).unsqueeze(0);
    auto slab = plan_.size;
    slab[0] = plan_.roi[0];
    auto sums = argmax_ ? slab : plan_.size;
    sums.insert(sums.begin(), prediction.size(0));
    slab.insert(slab.begin(), 1);
    sums_ = at::zeros(sums, type);
    counts_ = at::zeros(slab, type);
    if (argmax_) classes_ = at::empty(plan_.size, type.dtype(prediction.size(0) <= 256 ? at::kByte : at::kInt));
  }

  // Rows up to `end` are done; what is left of the counts (and sums) moves to the front.
  void finish(std::int64_t end) {
    const auto rows = end - row_;
    if (argmax_) {
      classes_.narrow(0, row_, rows).copy_(sums_.narrow(1, 0, rows).argmax(0));  // dividing by the counts changes no maximum
      move_up(sums_, rows);
    } else {
      sums_.narrow(1, row_, rows).div_(counts_.narrow(1, 0, rows));
    }
    move_up(counts_, rows);
    row_ = end;
  }

  static void move_up(const at::Tensor& slab, std::int64_t rows) {
    const auto left = slab.size(1) - rows;
    if (left > 0) slab.narrow(1, 0, left).copy_(slab.narrow(1, rows, left).clone());
    slab.narrow(1, left, rows).zero_();
  }

  const WindowPlan& plan_;
  at::Tensor weights_, sums_, counts_, classes_;
  bool argmax_;
  std::int64_t row_ = 0;
};

}  // namespace

std::vector<std::int64_t> window_starts(std::int64_t size, std::int64_t roi, double overlap, WindowConvention convention) {
  std::vector<std::int64_t> out;
  if (convention == WindowConvention::kNnunet) {
    const auto steps = static_cast<std::int64_t>(std::ceil(static_cast<double>(size - roi) / (static_cast<double>(roi) * (1 - overlap)))) + 1;
    for (std::int64_t i = 0; i < steps; ++i)
      out.push_back(steps == 1 ? 0 : std::llrint(static_cast<double>(size - roi) / static_cast<double>(steps - 1) * static_cast<double>(i)));
    return out;
  }
  // Truncated as MONAI truncates it: 10 · (1 - .3) is 7.
  const auto step = roi == size ? roi : std::max<std::int64_t>(static_cast<std::int64_t>(static_cast<double>(roi) * (1 - overlap)), 1);
  for (std::int64_t first = 0;; first += step) {
    out.push_back(std::min(first, size - roi));
    if (first + roi >= size) return out;
  }
}

at::Tensor window_weights(const std::vector<std::int64_t>& roi, WindowWeights weights, WindowConvention convention) {
  if (weights == WindowWeights::kConstant) return at::ones(roi);
  at::Tensor out;
  for (const auto cells : roi) {
    const bool nnunet = convention == WindowConvention::kNnunet;
    const auto middle = nnunet ? static_cast<double>(cells / 2) : static_cast<double>(cells - 1) / 2;
    const auto sigma = static_cast<double>(cells) * kWindowSigma;
    const auto x = at::arange(cells, at::kDouble) - middle;
    const auto axis = (x.square() / (-2 * sigma * sigma)).exp();
    out = out.defined() ? out.unsqueeze(-1) * axis : axis;
  }
  if (convention == WindowConvention::kMonai) {
    out = out.to(at::kFloat);
    return out.clamp_min(std::max(out.min().item<double>(), kLeastWeight));
  }
  out = (out / (out.max() / kNnunetPeak)).to(at::kHalf).to(at::kFloat);
  const auto zero = out.eq(0);
  return zero.any().item<bool>() ? out.masked_fill(zero, out.masked_select(zero.logical_not()).min()) : out;
}

void refuse_nan(const at::Tensor& prediction, const char* where) {
  // The sum is one fast pass; it is NaN of infinities of both signs too, which are allowed.
  if (!std::isnan(prediction.sum().item<double>())) return;
  TORCH_CHECK_VALUE(!prediction.isnan().any().item<bool>(), where, ": the network's prediction holds NaN, of which no class can be taken");
}

at::Tensor sliding_window(const at::Tensor& image, const WindowPredictor& predictor, const SlidingWindowOptions& options,
                          const std::function<void()>& between) {
  const c10::NoGradGuard no_gradients;
  const auto plan = window_plan(image, options);
  const auto rank = plan.roi.size();
  const auto whole = padded(image, plan, options.fill);
  WindowBlend blend(plan, window_weights(plan.roi, options.weights, options.convention), options.argmax);
  std::vector<std::vector<std::int64_t>> waiting;
  std::vector<at::Tensor> windows;
  std::int64_t channels = 0;
  const auto predict = [&] {
    if (windows.empty()) return;
    if (between) between();
    const auto stacked = windows.size() == 1 ? windows[0].unsqueeze(0) : at::stack(windows);
    const auto out = flipped_mean(stacked, predictor, options.flips);
    auto expected = stacked.sizes().vec();
    expected[1] = channels = channels > 0 ? channels : (out.dim() > 1 ? out.size(1) : 0);
    TORCH_CHECK_VALUE(channels > 0 && out.sizes() == at::IntArrayRef(expected), "sliding_window: predictor must give [", windows.size(), ", K, ",
                      at::IntArrayRef(plan.roi), "] for windows ", stacked.sizes(), ", got ", out.sizes());
    if (options.argmax) refuse_nan(out, "sliding_window");  // no class is the largest of such
    for (std::size_t i = 0; i < waiting.size(); ++i) blend.add(out[static_cast<std::int64_t>(i)], waiting[i]);
    waiting.clear();
    windows.clear();
  };
  std::vector<std::size_t> cursor(rank, 0);
  for (bool more = true; more;) {
    std::vector<std::int64_t> first;
    for (std::size_t axis = 0; axis < rank; ++axis) first.push_back(plan.starts[axis][cursor[axis]]);
    windows.push_back(window_at(whole, first, plan.roi));
    waiting.push_back(std::move(first));
    if (static_cast<std::int64_t>(windows.size()) == options.batch) predict();
    more = false;
    for (auto axis = rank; axis-- > 0 && !more;) {
      more = ++cursor[axis] < plan.starts[axis].size();
      if (!more) cursor[axis] = 0;
    }
  }
  predict();
  auto out = blend.take();
  const auto skipped = static_cast<std::int64_t>(options.argmax ? 0 : 1);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const auto cells = image.size(static_cast<std::int64_t>(axis) + 1);
    if (cells < plan.size[axis]) out = out.narrow(static_cast<std::int64_t>(axis) + skipped, plan.before[axis], cells);
  }
  return out.contiguous();
}

}  // namespace sslmed::nn
