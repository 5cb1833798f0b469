#pragma once
// What pretext tasks share: a sample is changed and asked something of which the answer is known.

#include <memory>
#include <string>
#include <vector>

#include "methods/dense_view.h"
#include "methods/objective.h"

namespace sslmed::methods {

// What the encoder is shown, and what is asked of it.
struct Exercise {
  at::Tensor input;   // [B · copies, C, spatial…], all of a sample one after the other
  at::Tensor answer;  // as the task has it: classes, hidden cells, overlaps; undefined: the sample itself
};

// The answer of the encoder and what stands behind it.
struct Attempt {
  at::Tensor total;                                       // scalar
  double weight = 0;                                      // number of terms that it is the mean of
  at::Tensor features;                                    // [B, D], watched for collapse
  std::vector<std::pair<std::string, at::Tensor>> parts;  // logged beside it, means over the same terms
};

class Pretext : public Objective {
 public:
  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  // The mean over all views of the batch, each by its number of terms.
  Loss loss(const data::Batch& batch, const Step& step) final;
  std::shared_ptr<nn::Encoder> encoder() const override { return encoder_; }
  // The exercise of samples [B, C, spatial…] at a step; a pure function of the seed, the step and each sample's number.
  Exercise exercise(const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) const;
  // And what the encoder makes of it.
  Attempt forward_dense(const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) const;

 protected:
  Pretext(std::string name, std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<const data::Recipe> recipe, std::uint64_t seed);
  virtual Exercise pose(const DenseView& view) const = 0;
  virtual Attempt attempt(const DenseView& view, const Exercise& exercise, const nn::Context& context) const = 0;
  // The encoder's features of an exercise; `context` is of the view.
  virtual nn::Features encode(const Exercise& exercise, const DenseView& view, const nn::Context& context) const;

  std::string name_;
  std::shared_ptr<nn::Encoder> encoder_;

 private:
  DenseView named_view(const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) const;

  std::shared_ptr<const data::Recipe> recipe_;
  std::uint64_t seed_;
};

// One number for each axis; a single one stands for all. ValueError that names the option `what` of the method `who`.
std::vector<std::int64_t> for_each_axis(const std::vector<std::int64_t>& given, std::int64_t rank, const std::string& who, const char* what);

// Share of rows whose largest score is their class: a scalar without gradient.
at::Tensor accuracy(const at::Tensor& scores, const at::Tensor& classes);

}  // namespace sslmed::methods
