#pragma once
// Distillation: a small encoder learns to give the features of a large one that stays as it is (Romero et al., arXiv
// 1412.6550; of self-supervised teachers: Fang et al., SEED, arXiv 2101.04731).

#include "methods/objective.h"
#include "nn/heads.h"

namespace sslmed::methods {

// How a student's projected feature is compared with the teacher's.
enum class DistillLoss {
  kCosine,  // 1 - cosine
  kMse      // mean squared error, the teacher's features normalized to mean 0 and variance 1 over their width
};

struct DistillOptions {
  DistillLoss loss = DistillLoss::kCosine;
  std::int64_t layers = 1;     // of the projection to the teacher's width; 1: a matrix
  std::int64_t hidden = 2048;  // width of its hidden layers
  double token_weight = 0;     // of the same loss over tokens; 0: the samples' summaries alone
  std::uint64_t seed = 0;      // of the projections' initial weights
};

class Distill : public Objective {
 public:
  // The teacher is no submodule: neither is it trained, nor is it in checkpoints. It stays in evaluation. Views of the
  // role "teacher" are its own where the recipe makes any; otherwise it takes those of the student.
  Distill(std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> teacher, const DistillOptions& options,
          std::shared_ptr<const data::Recipe> recipe = nullptr);

  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  Loss loss(const data::Batch& batch, const Step& step) override;
  std::shared_ptr<nn::Encoder> encoder() const override { return encoder_; }

 private:
  at::Tensor compared(const at::Tensor& student, const at::Tensor& teacher) const;  // [n, D] of each to [n]
  void follow_student();                                                            // the teacher to the student's device and number type

  DistillOptions options_;
  std::shared_ptr<const data::Recipe> recipe_;
  std::shared_ptr<nn::Encoder> encoder_, teacher_;
  std::shared_ptr<nn::MlpHead> projection_, token_projection_;
};

// Tokens [N, D] of a grid as tokens of another grid, by linear interpolation along each of 1 to 3 axes.
at::Tensor resample_tokens(const at::Tensor& tokens, const std::vector<std::int64_t>& grid, const std::vector<std::int64_t>& to);

}  // namespace sslmed::methods
