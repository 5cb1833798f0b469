#pragma once
// The training loop: batch, forward, backward, clip, step, log, checkpoint. It never needs the interpreter.
// With `ranks`, each of them takes its share of every batch, and all of them take the step of the whole batch.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "methods/objective.h"
#include "train/checkpoint.h"
#include "train/distributed.h"
#include "train/monitor.h"
#include "train/optimizer.h"

namespace sslmed::train {

struct TrainOptions {
  std::int64_t epochs = 1;
  std::int64_t accumulate = 1;                   // batches an optimiser step
  double lr = 1.5e-4, min_lr = 0, start_lr = 0;  // the peak, the end, and where the warm-up comes from
  std::int64_t warmup_steps = 0;
  AdamWOptions adamw;
  double final_weight_decay = -1;     // reached by half a cosine; negative: the decay stays as it is
  double clip_norm = 0;               // 0: gradients are not clipped, only measured
  double ema_decay = 0;               // of the encoder; 0: no average is kept
  bool bf16 = false;                  // autocast
  bool fp64 = false;                  // parameters and batches in double precision
  std::string device = "cpu";         // where the objective is moved and batches are sent
  int intra_op_threads = 0;           // 0: torch's setting; stored in checkpoints and used again
  std::string checkpoint_folder;      // empty: none are written
  std::int64_t checkpoint_every = 0;  // steps; 0: at the end of each epoch
  std::int64_t keep_last = 3;
  std::int64_t monitor_every = 10;  // steps between looks at the features; 0: none
  double collapse_std = 1e-3;       // a run whose FeatureHealth::std is lower at five looks in a row is stopped; 0: never
  double report_interval = 0.5;     // s between calls of the report
  std::string config;               // kept in every checkpoint; a resumed run must have the same
};

struct Record {
  std::int64_t step = 0, epoch = 0;
  double loss = 0, lr = 0, grad_norm = 0;             // of all ranks
  FeatureHealth features;                             // of this rank's samples, where looked at
  double seconds = 0;                                 // since the run started
  std::int64_t samples = 0;                           // of all ranks
  std::vector<std::pair<std::string, double>> parts;  // of this rank
};

// Training stopped because a number was not finite. Says the step and the samples.
class NonFiniteError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Called between steps, at most every report_interval, with what happened since. False asks the run to save and stop.
using Report = std::function<bool(const std::vector<Record>&)>;

class Trainer {
 public:
  // The loader is opened as it is planned, from the run's step on; what cannot be honoured (a start or end of its own, a share of a batch beside `ranks`, a
  // recipe beside the objective's) is a ValueError.
  Trainer(std::shared_ptr<methods::Objective> objective, data::LoaderPlan loader, TrainOptions options, std::shared_ptr<const Ranks> ranks = nullptr);

  // Continues from a checkpoint of the same configuration, of any number of ranks; of several ranks, the first one resumes.
  // FormatError or ValueError where it does not fit.
  void resume(const std::string& path);
  // Goes on from the present step until `until` (negative: the schedule's last). Several calls give the same bits as one, in one process or, through
  // checkpoints, in several. True when all these steps were done, false when the report of any rank asked to stop; a checkpoint is written either way, by the
  // first rank. DistributedError when another rank is lost. CollapseError when the encoder's features have collapsed.
  bool fit(const Report& report, std::int64_t until = -1);
  // The next fit() starts at this step of the schedule, with the weights and moments as they are: a round of somebody else's run.
  void seek(std::int64_t step);
  // Writes a checkpoint now; gives its path.
  std::string save();

  std::int64_t step() const noexcept { return step_; }
  std::int64_t total_steps() const noexcept { return total_steps_; }
  // The encoder's weights, averaged ones where an average is kept.
  TensorMap encoder_weights() const;
  const std::vector<data::Failure>& failures() const noexcept { return failures_; }

 private:
  // What ranks tell each other with every step.
  struct Sums {
    double weight = 0, loss = 0, samples = 0, stop = 0, collapsed = 0;
  };
  bool first() const { return !ranks_ || ranks_->rank() == 0; }
  void synchronise(std::int64_t until);
  Record train_step(data::Loader& loader);
  // One batch forward and backward; `last` of a step starts the reduction.
  void micro_step(data::Loader& loader, bool last, Sums& sums, Record& record);
  Sums exchange(const Sums& own, const std::function<void()>& meanwhile) const;
  void check_finite(double value, const char* what, const std::vector<std::int64_t>& samples) const;
  bool look_at(const methods::Loss& loss, double value, Record& record);  // true: collapsed
  void update_average();
  void end_epoch();
  std::int64_t batch_of(std::int64_t step) const;  // its first one
  std::string write(const std::string& name);
  void rotate() const;

  std::shared_ptr<methods::Objective> objective_;
  data::LoaderPlan plan_;
  TrainOptions options_;
  at::Device device_;
  AdamW optimizer_;  // after the device: its state lies beside the parameters
  std::vector<std::string> average_names_;
  std::vector<at::Tensor> average_, averaged_;
  std::int64_t step_ = 0, total_steps_, steps_per_epoch_;
  double epoch_loss_ = 0, best_loss_;
  std::vector<data::Failure> failures_;
  std::shared_ptr<const Ranks> ranks_;
  std::unique_ptr<GradientReducer> reducer_;
  std::vector<std::int64_t> last_samples_;
  bool stop_wanted_ = false, stop_agreed_ = false;
  int collapsed_looks_ = 0;
};

}  // namespace sslmed::train
