#pragma once
// A class for every cell of a sample, learned from label maps: an encoder, a decoder of its maps, Dice and cross-entropy.

#include <string>
#include <vector>

#include "tasks/dense_task.h"
#include "tasks/dice_ce.h"

namespace sslmed::tasks {

struct SegmentOptions {
  std::string target = "labels";             // a name in ViewBatch::targets: label maps that moved with the views
  std::vector<std::int64_t> values;          // [classes] what each class is in the label maps; others are refused
  std::string decoder = "unet";              // of nn::decoder_names()
  std::int64_t features = 32;                // as in nn::DenseDecoderConfig
  std::vector<std::int64_t> layers;          // as in nn::SegmenterConfig
  std::int64_t groups = 0;                   // of the decoder's normalization; 0: instance normalization
  bool residual = false, attention = false;  // of the decoder; those of an encoder "unet" are its own
  DiceCeOptions loss;                        // `ignore` is one of the label maps' values; data::kUnlabeled never counts
  Tuned tuned = Tuned::kEncoder;             // kEncoder or kNothing
  double layer_decay = 1;
  double drop_path = 0;
  std::uint64_t seed = 0;  // of the decoder's weights and of dropped paths
};

class Segment : public DenseTask {
 public:
  Segment(std::shared_ptr<nn::Encoder> encoder, const SegmentOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

  // A mean over samples, each with the Dice loss of its classes and the cross-entropy of its cells; samples without a labeled cell do not count.
  methods::Loss loss(const data::Batch& batch, const methods::Step& step) override;
  at::Tensor absent(const methods::Step& step) override;

  std::int64_t classes() const { return static_cast<std::int64_t>(options_.values.size()); }
  // [B, C, spatial…] to logits [B, classes, spatial…].
  at::Tensor forward(const at::Tensor& dense) const { return net().forward(dense); }

 private:
  // Adds a view's loss; returns [B] those of its samples, undefined where they interact.
  at::Tensor add_loss(PartsOfLoss& to, const data::Batch& batch, const data::ViewBatch& view, const methods::Step& step) const;
  at::Tensor numbered(const data::ViewBatch& view, const at::Tensor& input) const;  // [B, spatial…] classes, or -1

  SegmentOptions options_;
  at::Tensor table_;  // class of each value from 0 on; -1: not counted, -2: unknown
};

}  // namespace sslmed::tasks
