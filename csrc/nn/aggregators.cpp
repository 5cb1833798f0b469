#include "nn/aggregators.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

#include "nn/functional.h"

namespace sslmed::nn {
namespace {

// The mean of the rows.
class MeanBag : public Aggregator {
 public:
  explicit MeanBag(const AggregatorConfig& config) : Aggregator(config) { start(); }

 protected:
  BagFeatures pool(const at::Tensor& hidden, const PatchTokens& bags, const Dropout&, const Rows& rows) const override {
    std::vector<at::Tensor> even;
    const auto options = hidden.options().requires_grad(false);
    for (const auto n : rows.lengths()) even.push_back(at::full({n, 1}, 1.0 / static_cast<double>(n), options));
    return {hidden, {}, at::cat(even), mean_rows(hidden, bags.lengths, 0).unsqueeze(1)};
  }
};

// Gated attention (Ilse et al., arXiv 1802.04712): softmax of w(tanh(Vh) * sigmoid(Uh)) over a bag's rows. CLAM (Lu et al.,
// arXiv 2004.09666) has the same network, with dropout after each activation, and one branch or one for each class.
class GatedAttentionBag : public Aggregator {
 public:
  explicit GatedAttentionBag(const AggregatorConfig& config) : Aggregator(config) {
    TORCH_CHECK_VALUE(config.attention > 0, "attention=", config.attention, " must be at least 1 unit");
    value_ = register_module("value", std::make_shared<Linear>(config.hidden, config.attention));
    gate_ = register_module("gate", std::make_shared<Linear>(config.hidden, config.attention));
    score_ = register_module("score", std::make_shared<Linear>(config.attention, config.branches));
    start();
  }

 protected:
  BagFeatures pool(const at::Tensor& hidden, const PatchTokens&, const Dropout& how, const Rows& rows) const override {
    const auto value = dropout(at::tanh(value_->forward(hidden, rows)), how, 1, rows);
    const auto gate = dropout(at::sigmoid(gate_->forward(hidden, rows)), how, 2, rows);
    const auto scores = score_->forward(value * gate, rows);
    const auto weights = softmax_rows(scores, rows);
    return {hidden, scores, weights.detach(), weighted_sums(hidden, weights, rows)};
  }

 private:
  std::shared_ptr<Linear> value_, gate_, score_;
};

// x + attention(norm(x)); with landmarks, a convolution of the values along the sequence is added to what is attended.
class BagAttention : public torch::nn::Module {
 public:
  explicit BagAttention(const AggregatorConfig& config) : config_(config) {
    norm_ = register_module("norm", std::make_shared<LayerNorm>(config.hidden, 1e-5));
    const auto attn = register_module("attn", std::make_shared<torch::nn::Module>());
    qkv_ = attn->register_parameter("to_qkv", at::zeros({3 * config.hidden, config.hidden}));
    out_ = attn->register_module("to_out", std::make_shared<Linear>(config.hidden, config.hidden));
    if (config.landmarks > 0 && config.residual > 0) residual_ = attn->register_parameter("res_conv", at::zeros({config.heads, 1, config.residual, 1}));
  }

  // `seen`: what each sequence's first row attends to; null: not wanted.
  at::Tensor forward(const at::Tensor& x, const Rows& rows, const Dropout& how, std::uint64_t layer, at::Tensor* seen) const {
    const auto qkv = linear(norm_->forward(x, rows), qkv_, {}, rows);
    if (seen != nullptr) {
      const c10::NoGradGuard guard;
      *seen = first_row_attention(qkv, config_.heads, rows);
    }
    auto out = config_.landmarks > 0 ? nystrom_attention(qkv, config_.heads, config_.landmarks, config_.iterations, rows) : attention(qkv, rows, config_.heads);
    if (residual_.defined()) out = out + along_sequence(qkv, rows);
    return x + dropout(out_->forward(out, rows), how, layer, rows);
  }

 private:
  at::Tensor along_sequence(const at::Tensor& qkv, const Rows& rows) const {
    const auto heads = config_.heads, width = config_.hidden / heads;
    std::vector<at::Tensor> parts;
    std::int64_t first = 0;
    for (const auto n : rows.lengths()) {
      const auto values = qkv.narrow(0, first, n).narrow(1, 2 * config_.hidden, config_.hidden);
      const auto map = values.reshape({1, n, heads, width}).transpose(1, 2);  // [1, heads, n, width]
      parts.push_back(depthwise_conv(map, residual_, {}, Rows(Lengths{n})).transpose(1, 2).reshape({n, config_.hidden}));
      first += n;
    }
    return at::cat(parts);
  }

  AggregatorConfig config_;
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Linear> out_;
  at::Tensor qkv_, residual_;
};

// Depthwise convolutions of 7, 5 and 3 cells over the map on which rows stand at their own places (TransMIL's PPEG, whose
// map is a square in the order of the list). Empty cells are zero; rows of one cell enter by their mean.
class PlaceEncoding : public torch::nn::Module {
 public:
  explicit PlaceEncoding(std::int64_t dim) {
    const char* const names[] = {"proj", "proj1", "proj2"};
    for (std::int64_t i = 0; i < 3; ++i) {
      const auto conv = register_module(names[i], std::make_shared<torch::nn::Module>());
      weights_.push_back(conv->register_parameter("weight", at::zeros({dim, 1, 7 - 2 * i, 7 - 2 * i})));
      biases_.push_back(conv->register_parameter("bias", at::zeros({dim})));
    }
  }

  at::Tensor forward(const at::Tensor& x, const PatchTokens& bags, const Rows& rows) const {
    // One kernel of 7 cells: the smaller ones lie in its middle.
    const auto weight = weights_[0] + at::constant_pad_nd(weights_[1], {1, 1, 1, 1}) + at::constant_pad_nd(weights_[2], {2, 2, 2, 2});
    const auto bias = biases_[0] + biases_[1] + biases_[2];
    const auto grid = bags.grid.to(x.device(), at::kLong);
    std::vector<at::Tensor> parts;
    std::int64_t first = 0;
    for (std::size_t b = 0; b < rows.lengths().size(); ++b) {
      const auto n = rows.lengths()[b], item = static_cast<std::int64_t>(b);
      const auto height = bags.extents[item][0].item<std::int64_t>(), width = bags.extents[item][1].item<std::int64_t>();
      const auto own = grid.narrow(0, first, n);
      const auto cell = own.select(1, 0) * width + own.select(1, 1);
      parts.push_back(on_map(x.narrow(0, first, n), cell, height, width, weight, bias));
      first += n;
    }
    return x + at::cat(parts);
  }

 private:
  static at::Tensor on_map(const at::Tensor& x, const at::Tensor& cell, std::int64_t height, std::int64_t width, const at::Tensor& weight,
                           const at::Tensor& bias) {
    const auto dim = x.size(1);
    const auto counts = at::bincount(cell, {}, height * width).index_select(0, cell).to(x.scalar_type()).unsqueeze(1);
    const auto cells = at::zeros({height * width, dim}, x.options().requires_grad(false)).index_add(0, cell, x / counts);
    const auto map = cells.view({1, height, width, dim}).permute({0, 3, 1, 2});  // channels last
    const auto out = depthwise_conv(map, weight, bias, Rows::single(1));
    return out.permute({0, 2, 3, 1}).reshape({height * width, dim}).index_select(0, cell);
  }

  std::vector<at::Tensor> weights_, biases_;
};

// TransMIL (Shao et al., arXiv 2106.00908) on the rows' real places: attention with a class token, place encoding after the
// first layer, and the class token of the last one.
class TransformerBag : public Aggregator {
 public:
  explicit TransformerBag(const AggregatorConfig& config) : Aggregator(config) {
    TORCH_CHECK_VALUE(config.branches == 1, "branches=", config.branches, " must be 1 for a transformer");
    TORCH_CHECK_VALUE(config.heads > 0 && config.hidden % config.heads == 0, "heads=", config.heads, " must divide hidden=", config.hidden);
    TORCH_CHECK_VALUE(config.depth > 0, "depth=", config.depth, " must be at least 1");
    TORCH_CHECK_VALUE(config.landmarks >= 0, "landmarks=", config.landmarks, " must not be negative");
    TORCH_CHECK_VALUE(config.iterations > 0, "iterations=", config.iterations, " must be at least 1");
    TORCH_CHECK_VALUE(config.residual == 0 || config.residual % 2 == 1, "residual=", config.residual, " must be odd, or 0");
    class_token_ = register_parameter("cls_token", at::zeros({1, config.hidden}));
    for (std::int64_t i = 0; i < config.depth; ++i) layers_.push_back(register_module("layer" + std::to_string(i + 1), std::make_shared<BagAttention>(config)));
    places_ = register_module("pos_layer", std::make_shared<PlaceEncoding>(config.hidden));
    norm_ = register_module("norm", std::make_shared<LayerNorm>(config.hidden, 1e-5));
    start();
  }

 protected:
  BagFeatures pool(const at::Tensor& hidden, const PatchTokens& bags, const Dropout& how, const Rows& rows) const override {
    TORCH_CHECK_VALUE(bags.grid.defined() && bags.extents.defined(), "a transformer over places needs the grid of the rows");
    const auto longer = rows.longer(1);
    auto x = prepend_token(hidden, class_token_, rows);
    at::Tensor seen;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const bool last = i + 1 == layers_.size();
      x = layers_[i]->forward(x, longer, how, i + 1, last ? &seen : nullptr);
      if (i > 0) continue;
      const auto placed = places_->forward(drop_first(x, longer.lengths()), bags, rows);
      const auto first = first_rows(x, longer.lengths());
      Lengths lengths;
      x = join(first, Lengths(rows.lengths().size(), 1), placed, rows.lengths(), lengths);
    }
    const auto pooled = norm_->forward(first_rows(x, longer.lengths()), rows.single());
    return {hidden, {}, seen, pooled.unsqueeze(1)};
  }

 private:
  at::Tensor class_token_;
  std::vector<std::shared_ptr<BagAttention>> layers_;
  std::shared_ptr<PlaceEncoding> places_;
  std::shared_ptr<LayerNorm> norm_;
};

}  // namespace

at::Tensor bag_rows(const at::Tensor& values, at::ScalarType type) {
  if (values.scalar_type() != at::kByte) return values.to(type);
  TORCH_CHECK_VALUE(values.size(1) % 2 == 0, "rows of bytes hold half-precision numbers of 2 bytes, got ", values.size(1), " bytes");
  return values.contiguous().view(at::kHalf).to(type);
}

Aggregator::Aggregator(const AggregatorConfig& config) : config_(config) {
  TORCH_CHECK_VALUE(config.in > 0, "in=", config.in, " must be the width of a row, at least 1");
  TORCH_CHECK_VALUE(config.hidden > 0, "hidden=", config.hidden, " must be at least 1 unit");
  TORCH_CHECK_VALUE(config.branches > 0, "branches=", config.branches, " must be at least 1");
  TORCH_CHECK_VALUE(config.kind == Aggregation::kAttention || config.branches == 1, "branches=", config.branches, " needs aggregation by attention");
  fc_ = register_module("fc", std::make_shared<Linear>(config.in, config.hidden));
}

BagFeatures Aggregator::aggregate(const PatchTokens& bags, const Dropout& how) const {
  TORCH_CHECK_VALUE(!bags.lengths.empty(), "aggregate: there must be at least one bag");
  for (const auto n : bags.lengths) TORCH_CHECK_VALUE(n > 0, "aggregate: a bag has no rows; leave it out");
  const auto rows = Rows(bags.lengths);
  const auto x = bag_rows(bags.values, fc_->weight.scalar_type());
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(1) == config_.in, "aggregate: rows are ", x.sizes(), ", expected [", rows.total(), ", ", config_.in,
                    "]: the width that the aggregator was made for");
  const auto hidden = dropout(at::relu(fc_->forward(x, rows)), how, 0, rows);
  return pool(hidden, bags, how, rows);
}

Features Aggregator::forward_view(const Input& view, const Context&) const {
  const auto* bags = std::get_if<PatchTokens>(&view);
  TORCH_CHECK_VALUE(bags != nullptr, "an aggregator takes bags of rows, got a dense view");
  const auto found = aggregate(*bags);
  Features out;
  out.tokens = found.rows;
  out.lengths = bags->lengths;
  out.pooled = found.pooled.mean(1);
  return out;
}

std::shared_ptr<Aggregator> create_aggregator(const AggregatorConfig& config) {
  if (config.kind == Aggregation::kMean) return std::make_shared<MeanBag>(config);
  if (config.kind == Aggregation::kAttention) return std::make_shared<GatedAttentionBag>(config);
  return std::make_shared<TransformerBag>(config);
}

}  // namespace sslmed::nn
