#pragma once
// DINOv2 (Oquab et al., arXiv 2304.07193): DINO on class tokens, iBOT on masked patches (Zhou et al., arXiv
// 2111.07832), and a term that spreads the class tokens of a batch; with Gram anchoring (DINOv3, arXiv 2508.10104).

#include <memory>
#include <vector>

#include "methods/joint_embedding.h"
#include "nn/heads.h"
#include "nn/vit.h"

namespace sslmed::methods {

enum class Centering {
  kSinkhorn,  // Sinkhorn-Knopp over the rows of all ranks
  kSoftmax,   // a running mean is subtracted, as in DINO
};

enum class Spread {
  kKoleo,       // distance to the nearest neighbor, as published
  kUniformity,  // density of all others under a kernel
  kNone,
};

struct DinoV2Options {
  std::int64_t prototypes = 65536, hidden = 2048, bottleneck = 256;  // of each head
  bool shared_head = false;                                          // of class tokens and masked patches
  double dino_weight = 1, ibot_weight = 1;
  Centering centering = Centering::kSinkhorn;
  std::int64_t iterations = 3;  // of Sinkhorn-Knopp
  double center_momentum = 0.9;
  Spread spread = Spread::kKoleo;
  double spread_weight = 0.1, kappa = 5;  // kappa: of the kernel
  double student_temperature = 0.1;
  // The teacher's temperature rises in a line from its start over a share of the run.
  double teacher_temperature_start = 0.04, teacher_temperature = 0.07, teacher_warmup = 0.3;
  double momentum = 0.992;                      // of the teacher at the start; it rises to 1 by half a cosine
  double freeze_last = 0.01;                    // share of the run in which prototypes stay as they were drawn
  double layer_decay = 0.9, patch_embed = 0.2;  // factors of learning rates (methods/layers.h)
  double drop_path = 0;                         // of the student's last block
  double gram_weight = 0, gram_start = 0.5;     // share of the run after which patches are anchored
  std::int64_t gram_refresh = 0;                // steps between copies of the teacher to the anchor; 0: one copy
  std::uint64_t seed = 0;                       // of the heads' initial weights, and of dropped paths
};

class DinoV2 : public JointEmbedding {
 public:
  DinoV2(std::shared_ptr<nn::VisionTransformer> encoder, const DinoV2Options& options, std::shared_ptr<const data::Recipe> recipe = nullptr);
  // The teacher, which is the one to keep.
  std::shared_ptr<nn::Encoder> encoder() const override { return twin_; }
  std::vector<ParameterGroup> parameter_groups() const override;
  void after_backward(const Step& step) override;
  void after_step(const Step& step) override;

 private:
  // Masked patches of the global views as student and teacher see them, [M, D], and their weights [M].
  struct Masked {
    at::Tensor student, teacher, weights;
  };
  Loss loss_of(const Views& views, const Step& step) override;
  nn::Input input(const data::ViewBatch& view, bool of_twin) const override;
  at::Tensor drop_path(const data::Batch& batch, const data::ViewBatch& view) const override;
  Masked masked_of(const Views& views) const;
  // The teacher's answers to [n, K] logits; the center is moved after they are made.
  at::Tensor answers(const at::Tensor& logits, at::Tensor& center, const Step& step);
  at::Tensor dino_of(const Views& views, const Step& step);
  at::Tensor ibot_of(const Views& views, const Step& step);
  at::Tensor spread_of(const Views& views, const Step& step) const;
  at::Tensor gram_of(const Views& views, const Step& step) const;
  // Whether the anchor becomes a copy of the teacher before step `number`.
  bool refreshes(const Step& step, std::int64_t number) const;

  DinoV2Options options_;
  std::shared_ptr<nn::PrototypeHead> head_, twin_head_;
  std::shared_ptr<nn::PrototypeHead> patch_head_, twin_patch_head_;  // the same ones where they are shared
  std::shared_ptr<nn::VisionTransformer> anchor_;                    // null without Gram anchoring
  at::Tensor mask_token_;                                            // [1, D]
  at::Tensor center_, patch_center_;                                 // [K]; undefined with Sinkhorn-Knopp
  std::vector<Teacher> teachers_;
  std::unique_ptr<Teacher> anchored_;  // copies the teacher
};

}  // namespace sslmed::methods
