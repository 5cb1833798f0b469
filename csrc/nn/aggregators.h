#pragma once
// Encoders of bags: many rows of features of one slide, or of one patient, become one row. Means, gated attention (ABMIL,
// CLAM) and a transformer over the rows' places (TransMIL).

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/encoder.h"
#include "nn/functional_bags.h"
#include "nn/layers.h"

namespace sslmed::nn {

enum class Aggregation { kMean, kAttention, kTransformer };

struct AggregatorConfig {
  Aggregation kind = Aggregation::kAttention;
  std::int64_t in = 0;           // width of a row
  std::int64_t hidden = 512;     // of the first layer: relu(fc(x))
  std::int64_t attention = 256;  // hidden units of the gated attention
  std::int64_t branches = 1;     // attention vectors, each with a pooled row of its own (CLAM-MB: one a class)
  std::int64_t heads = 8;        // kTransformer
  std::int64_t depth = 2;        // kTransformer: attention layers; places are added after the first one
  std::int64_t landmarks = 256;  // kTransformer: of Nyström attention; 0: exact attention
  std::int64_t iterations = 6;   // of its pseudo-inverse
  std::int64_t residual = 33;    // rows that its convolution of the values spans along the sequence, odd; 0: none
  std::uint64_t seed = 0;        // of the weights
};

struct BagFeatures {
  at::Tensor rows;       // [ΣN, H]
  at::Tensor scores;     // [ΣN, K] before the softmax; undefined where there are none
  at::Tensor attention;  // [ΣN, K], sums to one in each bag; no gradient comes from it
  at::Tensor pooled;     // [B, K, H]
};

class Aggregator : public Encoder {
 public:
  // ValueError that names the number out of range.
  explicit Aggregator(const AggregatorConfig& config);

  const AggregatorConfig& config() const noexcept { return config_; }
  EncoderShape shape() const override { return {config_.hidden, 0, 1, false}; }
  // ValueError for a bag without rows, or rows of another width.
  BagFeatures aggregate(const PatchTokens& bags, const Dropout& dropout = {}) const;
  // `tokens` are the rows of the first layer, `pooled` the mean over the branches.
  Features forward_view(const Input& view, const Context& context = {}) const override;

 protected:
  virtual BagFeatures pool(const at::Tensor& hidden, const PatchTokens& bags, const Dropout& dropout, const Rows& rows) const = 0;
  // After all layers of a derived class are there.
  void start() { initialise(*this, config_.seed); }

 private:
  AggregatorConfig config_;
  std::shared_ptr<Linear> fc_;
};

std::shared_ptr<Aggregator> create_aggregator(const AggregatorConfig& config);

// Rows as numbers of `type`: bytes hold half-precision numbers, two each.
at::Tensor bag_rows(const at::Tensor& values, at::ScalarType type);

}  // namespace sslmed::nn
