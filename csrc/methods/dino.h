#pragma once
// DINO (Caron et al., arXiv 2104.14294): all crops of a sample agree with what an averaged teacher makes of its global crops, over prototypes.

#include "methods/joint_embedding.h"
#include "nn/heads.h"

namespace sslmed::methods {

struct DinoOptions {
  std::int64_t prototypes = 65536, hidden = 2048, bottleneck = 256;
  double student_temperature = 0.1;
  // The teacher's temperature rises in a line from its start over a share of the run.
  double teacher_temperature_start = 0.04, teacher_temperature = 0.04, teacher_warmup = 0;
  double center_momentum = 0.9;
  double momentum = 0.996;    // of the teacher at the start; it rises to 1 by half a cosine
  double freeze_last = 0.01;  // share of the run in which prototypes stay as they were drawn
  std::uint64_t seed = 0;     // of the heads' initial weights
};

class Dino : public JointEmbedding {
 public:
  Dino(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, const DinoOptions& options,
       std::shared_ptr<const data::Recipe> recipe = nullptr);
  // The teacher, which is the one to keep.
  std::shared_ptr<nn::Encoder> encoder() const override { return twin_; }
  void after_backward(const Step& step) override;
  void after_step(const Step& step) override;

 private:
  Loss loss_of(const Views& views, const Step& step) override;

  DinoOptions options_;
  std::shared_ptr<nn::PrototypeHead> head_, twin_head_;
  at::Tensor center_;  // [K], the running mean of the teacher's logits
  std::vector<Teacher> teachers_;
};

}  // namespace sslmed::methods
