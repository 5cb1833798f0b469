#pragma once
// Learning from labels of bags: an aggregator with a head, for classes, a number, or a time that may be censored.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/loader.h"
#include "methods/objective.h"
#include "methods/survival.h"
#include "nn/aggregators.h"

namespace sslmed::tasks {

enum class Outcome { kClasses, kValue, kSurvival };

struct BagTaskOptions {
  Outcome outcome = Outcome::kClasses;
  std::string target = "target";      // a name in Batch::targets: the number of the class, what is regressed, or the time
  std::string event = "event";        // kSurvival: 1 where the event was seen, 0 where the time is censored
  std::int64_t classes = 0;           // kClasses
  std::vector<double> class_weights;  // [classes] or empty
  double label_smoothing = 0;
  double mean = 0, scale = 1;  // kValue: the head gives (target - mean) / scale
  methods::Ties ties = methods::Ties::kEfron;
  double dropout = 0.25;  // of units, in training
  // CLAM's clustering of rows: those with most and with least attention are told apart, for each class by a head of its own.
  double instance_weight = 0;       // its share of the loss; 0: none
  std::int64_t instance_count = 8;  // rows of either kind
  bool subtyping = false;           // classes exclude each other: rows with most attention for another class are none of this one
  std::uint64_t seed = 0;           // of the heads' weights and of dropout
};

// Outputs of bags, in the order of the samples.
struct BagAnswers {
  at::Tensor values;      // [B, outputs]
  at::Tensor sample_ids;  // [B]
};

class BagTask : public methods::Objective {
 public:
  // ValueError for options that do not fit each other or the aggregator.
  BagTask(std::shared_ptr<nn::Aggregator> aggregator, const BagTaskOptions& options);

  std::shared_ptr<const data::Recipe> recipe() const override;
  methods::Loss loss(const data::Batch& batch, const methods::Step& step) override;
  std::shared_ptr<nn::Encoder> encoder() const override { return aggregator_; }
  std::int64_t outputs() const { return options_.outcome == Outcome::kClasses ? options_.classes : 1; }

  // [B, outputs]: logits, the regressed target in its own unit, or log hazard ratios; and what was pooled.
  std::pair<at::Tensor, nn::BagFeatures> forward(const nn::PatchTokens& bags, const nn::Dropout& dropout = {}) const;
  // The loss of bags whose target (class, value or time) and event [B] are given.
  methods::Loss loss_of(const nn::PatchTokens& bags, const at::Tensor& target, const at::Tensor& event, const nn::Dropout& dropout = {}) const;

 private:
  struct Part {
    at::Tensor out, instance;  // [b, outputs]; mean over the bags of the instance loss, undefined without
  };
  Part part_of(const nn::PatchTokens& bags, const at::Tensor& target, const nn::Dropout& dropout) const;
  methods::Loss total_of(const at::Tensor& out, const at::Tensor& target, const at::Tensor& event, const at::Tensor& instance) const;
  // CLAM's loss of one bag: scores [N, branches], hidden rows [N, H].
  at::Tensor instance_loss(const at::Tensor& scores, const at::Tensor& rows, std::int64_t truth) const;
  void check() const;

  BagTaskOptions options_;
  std::shared_ptr<nn::Aggregator> aggregator_;
  std::shared_ptr<nn::Linear> head_;
  std::vector<std::shared_ptr<nn::Linear>> instances_;
};

// What a task says of every bag of a loader, without dropout.
BagAnswers answers(const BagTask& task, data::Loader& loader);

}  // namespace sslmed::tasks
