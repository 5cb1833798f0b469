#pragma once
// What tasks share that learn maps of a view: an encoder, a decoder of its maps, and what of both is trained.

#include <memory>
#include <string>

#include "methods/dense_view.h"
#include "methods/objective.h"
#include "nn/segmenter.h"
#include "tasks/supervised.h"

namespace sslmed::tasks {

struct DenseTaskOptions {
  Tuned tuned = Tuned::kEncoder;  // kEncoder or kNothing
  double layer_decay = 1;
  double drop_path = 0;
  std::uint64_t seed = 0;  // of dropped paths
};

class DenseTask : public methods::Objective {
 public:
  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  void train(bool on = true) override {
    methods::Objective::train(on);
    if (how_.tuned == Tuned::kNothing) encoder()->train(false);
  }
  std::vector<methods::ParameterGroup> parameter_groups() const override;
  std::shared_ptr<nn::Encoder> encoder() const override { return net_->encoder(); }

 protected:
  // Registers the network's parts as "encoder" and "decoder". `who` begins every message.
  DenseTask(std::shared_ptr<nn::Encoder> encoder, nn::SegmenterConfig config, const DenseTaskOptions& how, std::shared_ptr<const data::Recipe> recipe,
            std::string who);

  const nn::Segmenter& net() const { return *net_; }
  methods::DenseView dense(const data::Batch& batch, const data::ViewBatch& view, const methods::Step& step) const;
  // What the decoder gives for a view, [B, channels, spatial…]; in training paths are dropped.
  at::Tensor decoded(const data::Batch& batch, const data::ViewBatch& view, const methods::DenseView& dense, const methods::Step& step) const;
  // ValueError where the batch has no views, or views of several sizes in what gathers over the ranks.
  void check_views(const data::Batch& batch, const methods::Step& step, bool gathers) const;
  // The target of a view by name, one tensor a sample.
  const std::vector<at::Tensor>& target_of(const data::ViewBatch& view, const std::string& name) const;

 private:
  DenseTaskOptions how_;
  std::shared_ptr<const data::Recipe> recipe_;
  std::string who_;
  std::shared_ptr<nn::Segmenter> net_;
};

// A mean over the views of a batch, each of which has one over its own terms: of a loss and of what is logged beside it.
class PartsOfLoss {
 public:
  // weight: terms of `total` and of the parts, which have the same names each time.
  void add(const at::Tensor& total, double weight, std::vector<std::pair<std::string, at::Tensor>> parts);
  // Where not a single term counts, the weight is next to none.
  methods::Loss mean() const;

 private:
  struct Part {
    at::Tensor total;
    double weight;
    std::vector<std::pair<std::string, at::Tensor>> parts;
  };
  std::vector<Part> parts_;
};

}  // namespace sslmed::tasks
