#pragma once
// What methods share that compare several views of each sample: one encoder over all of them, with or without an averaged twin.

#include <memory>
#include <string>
#include <vector>

#include "methods/objective.h"
#include "methods/teacher.h"

namespace sslmed::methods {

// Views as an encoder sees them, and what it makes of them.
class Seen {
 public:
  Seen() = default;
  Seen(std::vector<const data::ViewBatch*> views, std::vector<nn::Features> features) : views_(std::move(views)), features_(std::move(features)) {}

  const std::vector<const data::ViewBatch*>& views() const noexcept { return views_; }
  const std::vector<nn::Features>& features() const noexcept { return features_; }
  // [B, D] of each number of a role, rows in the order of the batch's samples. ValueError where a sample lacks one of them.
  std::vector<at::Tensor> summaries(const std::string& role) const;

 private:
  std::vector<const data::ViewBatch*> views_;
  std::vector<nn::Features> features_;
};

// What an objective of several views is computed from.
struct Views {
  std::vector<at::Tensor> global, local;  // [B, D] by number: what the encoder makes of the roles "global" and "local"
  std::vector<at::Tensor> target;         // [B, D] the twin's of the global ones, without gradient; empty of methods without a twin
  Seen online, twin;                      // tokens and maps of the same
  const data::Batch* batch = nullptr;     // null on a rank without samples, whose views have no rows
  std::vector<std::int64_t> slots;        // [B] the rows' places in the batch
};

class JointEmbedding : public Objective {
 public:
  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  Loss loss(const data::Batch& batch, const Step& step) final;
  // The same gathers as in loss(), of no rows. Views of one role must have one size on all ranks.
  at::Tensor absent(const Step& step) final;
  std::shared_ptr<nn::Encoder> encoder() const override { return encoder_; }

 protected:
  // `twin`: another encoder of the same architecture, or null. Both are registered, as "encoder" and "twin"; its weights are set to the encoder's.
  JointEmbedding(std::string name, std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<nn::Encoder> twin, std::shared_ptr<const data::Recipe> recipe,
                 std::int64_t least_globals = 2);
  // Differentiable also where views have no rows: means are over max(rows, 1).
  virtual Loss loss_of(const Views& views, const Step& step) = 0;
  // A view as the encoder or (of global ones) its twin takes it.
  virtual nn::Input input(const data::ViewBatch& view, bool of_twin) const;
  // Factors of the encoder's residual branches for a view (nn::Context::drop_path); undefined: none.
  virtual at::Tensor drop_path(const data::Batch&, const data::ViewBatch&) const { return {}; }

  std::string name_;
  std::shared_ptr<nn::Encoder> encoder_, twin_;

 private:
  // What a rank without samples must know of the others: views of each sample by role, and passes of encoder and twin.
  struct Counts {
    std::int64_t globals = 0, locals = 0, passes = 0, twin_passes = 0;
  };
  static Counts counts_of(const data::Batch& batch);
  Counts agreed(const Counts& own, const Step& step) const;  // the largest of all ranks
  at::Tensor no_rows(const nn::Encoder& encoder, std::int64_t passes, const Step& step) const;
  Seen see(const nn::Encoder& encoder, const data::Batch& batch, bool of_twin, const Step& step) const;

  std::shared_ptr<const data::Recipe> recipe_;
  std::int64_t least_globals_;
};

// A momentum that rises by half a cosine from `start` at step 0 to 1 at the last of `total`: BYOL's and DINO's.
double cosine_momentum(double start, std::int64_t step, std::int64_t total);

// The mean of `of(i, j)` over all pairs i < j of `count` views.
template <class Of>
at::Tensor mean_over_pairs(std::size_t count, Of&& of) {
  at::Tensor total;
  double pairs = 0;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = i + 1; j < count; ++j, ++pairs) {
      const at::Tensor one = of(i, j);
      total = total.defined() ? total + one : one;
    }
  }
  return total / pairs;
}

}  // namespace sslmed::methods
