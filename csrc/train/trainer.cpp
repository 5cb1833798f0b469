#include "train/trainer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "train/schedule.h"

namespace sslmed::train {
namespace {

constexpr int kCollapsedLooks = 5;
constexpr double kNothingLearned = 1e-3;  // how near, as a share, a loss is to its value without knowledge

// Forward passes in bfloat16 for the life of the object, when asked.
class Autocast {
 public:
  Autocast(bool on, at::DeviceType device) : on_(on), device_(device) {
    if (!on_) return;
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(device_, was_on_);
    at::autocast::set_autocast_dtype(device_, usual_);
    at::autocast::clear_cache();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool on_;
  at::DeviceType device_;
  bool was_on_ = at::autocast::is_autocast_enabled(device_);
  at::ScalarType usual_ = at::autocast::get_autocast_dtype(device_);
};

at::Device moved(methods::Objective& objective, const std::string& name, bool fp64) {
  const auto device = [&] {
    try {
      return at::Device(name);
    } catch (const c10::Error&) {
      throw ValueError("Trainer: device='" + name + "' must be 'cpu', 'cuda' or 'cuda:1'");
    }
  }();
  TORCH_CHECK_VALUE(device.is_cpu() || (device.is_cuda() && at::hasCUDA()), "Trainer: device='", name, "' is not available: this build of torch has ",
                    at::hasCUDA() ? "CUDA" : "no CUDA support");
  objective.to(device);
  if (fp64) objective.to(at::kDouble);
  return device;
}

void check(const TrainOptions& options) {
  const auto at_least = [](const char* name, auto value, auto least) {
    if (!(value >= least)) throw ValueError("Trainer: " + std::string(name) + "=" + std::to_string(value) + " must be at least " + std::to_string(least));
  };
  at_least("epochs", options.epochs, 1);
  at_least("accumulate", options.accumulate, 1);
  at_least("warmup_steps", options.warmup_steps, 0);
  at_least("keep_last", options.keep_last, 1);
  at_least("checkpoint_every", options.checkpoint_every, 0);
  at_least("monitor_every", options.monitor_every, 0);
  at_least("intra_op_threads", options.intra_op_threads, 0);
  at_least("weight_decay", options.optimizer.weight_decay, 0.0);
  at_least("start_lr", options.start_lr, 0.0);
  at_least("min_lr", options.min_lr, 0.0);
  at_least("clip_norm", options.clip_norm, 0.0);
  at_least("collapse_std", options.collapse_std, 0.0);
  if (!(options.lr > 0)) throw ValueError("Trainer: lr=" + std::to_string(options.lr) + " must be positive");
  if (!(options.optimizer.momentum >= 0 && options.optimizer.momentum < 1))
    throw ValueError("Trainer: momentum=" + std::to_string(options.optimizer.momentum) + " must be within [0, 1)");
  if (!(options.ema_decay >= 0 && options.ema_decay < 1))
    throw ValueError("Trainer: ema_decay=" + std::to_string(options.ema_decay) + " must be within [0, 1)");
  if (options.fp64 && options.bf16) throw ValueError("Trainer: fp64=True and bf16=True exclude each other");
}

// Refuses what a run cannot honour, and fills in what it decides itself.
data::LoaderPlan checked(data::LoaderPlan plan, const methods::Objective& objective, const Ranks* ranks) {
  const auto& options = plan.options;
  if (options.first != 0) throw ValueError("Trainer: start=" + std::to_string(options.first) + " of the loader is refused: a run starts at its own step");
  if (options.end != 0) throw ValueError("Trainer: epochs of the loader are refused: give them to the trainer");
  const auto rank = static_cast<unsigned>(ranks != nullptr ? ranks->rank() : 0), size = static_cast<unsigned>(ranks != nullptr ? ranks->size() : 1);
  if (options.ranks != 1 && (options.ranks != size || options.rank != rank))
    throw ValueError("Trainer: rank=" + std::to_string(options.rank) + " of ranks=" + std::to_string(options.ranks) +
                     " of the loader is refused: this process is rank " + std::to_string(rank) + " of " + std::to_string(size));
  plan.options.rank = rank;
  plan.options.ranks = size;
  const auto own = objective.recipe();
  if (plan.recipe && own && plan.recipe != own)
    throw ValueError("Trainer: recipe of the loader (or its mask, ratio, augmentation …) is refused: the objective has its own");
  if (!plan.recipe) plan.recipe = own;
  return plan;
}

}  // namespace

Trainer::Trainer(std::shared_ptr<methods::Objective> objective, data::LoaderPlan loader, TrainOptions options, std::shared_ptr<const Ranks> ranks)
    : objective_(std::move(objective)),
      plan_(checked(std::move(loader), *objective_, ranks.get())),
      options_((check(options), std::move(options))),
      device_(moved(*objective_, options_.device, options_.fp64)),
      optimizer_(make_optimizer(objective_->parameter_groups(), options_.optimizer)),
      best_loss_(std::numeric_limits<double>::infinity()),
      ranks_(ranks && ranks->size() > 1 ? std::move(ranks) : nullptr) {
  steps_per_epoch_ = plan_.sampler->batches_per_epoch() / options_.accumulate;
  if (steps_per_epoch_ < 1)
    throw ValueError("Trainer: accumulate=" + std::to_string(options_.accumulate) + " batches a step is more than the " +
                     std::to_string(plan_.sampler->batches_per_epoch()) + " of an epoch");
  total_steps_ = options_.epochs * steps_per_epoch_;
  if (options_.ema_decay > 0) {
    for (const auto& item : objective_->encoder()->named_parameters()) {
      average_names_.push_back(item.key());
      averaged_.push_back(item.value().detach());
      average_.push_back(item.value().detach().clone());
    }
  }
  if (options_.intra_op_threads <= 0) options_.intra_op_threads = at::get_num_threads();
  if (ranks_) {
    std::vector<at::Tensor> parameters;
    for (const auto& group : objective_->parameter_groups()) parameters.insert(parameters.end(), group.parameters.begin(), group.parameters.end());
    reducer_ = std::make_unique<GradientReducer>(*ranks_, std::move(parameters));
  }
}

// Every rank starts from the first one's state, and only if all see the same run.
void Trainer::synchronise(std::int64_t until) {
  ranks_->guarded([&] {
    const auto options = at::TensorOptions().dtype(at::kLong).device(device_);
    const std::vector<std::int64_t> own{total_steps_,
                                        until,
                                        plan_.sampler->batches_per_epoch(),
                                        plan_.sampler->batch_size(),
                                        static_cast<std::int64_t>(plan_.sampler->seed()),
                                        static_cast<std::int64_t>(std::hash<std::string>{}(options_.config))};
    const auto plan = at::tensor(own, at::kLong).to(device_);
    const auto theirs = plan.clone();
    ranks_->broadcast({theirs});
    const auto differs = at::ne(plan, theirs).sum().to(options);
    ranks_->sum(differs)();
    if (differs.item<std::int64_t>() != 0)
      throw ValueError("the ranks do not agree on the run: rank " + std::to_string(ranks_->rank()) + " sees " + std::to_string(total_steps_) +
                       " steps, until " + std::to_string(until) + ", batches of " + std::to_string(plan_.sampler->batch_size()) + ", seed " +
                       std::to_string(plan_.sampler->seed()) + " and configuration " + options_.config);
    std::vector<at::Tensor> state;
    for (const auto& item : objective_->named_parameters()) state.push_back(item.value());
    for (const auto& item : objective_->named_buffers()) state.push_back(item.value());
    for (const auto& [name, tensor] : optimizer_->state()) state.push_back(tensor);
    state.insert(state.end(), average_.begin(), average_.end());
    const auto numbers = at::tensor({static_cast<double>(step_), epoch_loss_, best_loss_}, at::kDouble).to(device_);
    state.push_back(numbers);
    ranks_->broadcast(state);
    step_ = static_cast<std::int64_t>(numbers[0].item<double>());
    epoch_loss_ = numbers[1].item<double>();
    best_loss_ = numbers[2].item<double>();
  });
}

void Trainer::check_finite(double value, const char* what, const std::vector<std::int64_t>& samples) const {
  if (std::isfinite(value)) return;
  std::string who;
  for (std::size_t i = 0; i < samples.size() && i < 8; ++i) {
    if (samples[i] < 0) continue;
    who += (who.empty() ? "" : "; ") + plan_.source->describe(samples[i]).text();
  }
  if (samples.size() > 8) who += "; and " + std::to_string(samples.size() - 8) + " more";
  throw NonFiniteError(std::string("the ") + what + " is not finite at step " + std::to_string(step_) + "; samples: " + who);
}

void Trainer::micro_step(data::Loader& loader, bool last, Sums& sums, Record& record) {
  auto batch = loader.next();
  if (!batch) throw std::logic_error("the loader ended before the run");
  methods::Loss loss;
  double value = 0, weight = 0;
  if (!batch->views.empty()) {
    last_samples_ = batch->sample_ids;
    for (auto& view : batch->views) view = view.to(device_, options_.fp64 ? at::kDouble : at::kFloat);
    const Autocast autocast(options_.bf16, device_.type());
    loss = objective_->loss(*batch, {step_, total_steps_, ranks_ ? ranks_.get() : &nn::Comm::alone()});
    value = loss.total.item<double>();
    weight = loss.weight > 0 ? loss.weight : static_cast<double>(batch->samples());
  } else if (ranks_) {
    // Nothing in this rank's share; it takes part in the reduction with a gradient of zero.
    loss.total = objective_->absent({step_, total_steps_, ranks_.get()});
  } else {
    return;  // the step's other batches may have samples
  }
  if (!ranks_) check_finite(value, "loss", last_samples_);
  sums.weight += weight;
  sums.loss += weight * value;
  sums.samples += static_cast<double>(batch->samples());
  for (const auto& [name, part] : loss.parts) record.parts.emplace_back(name, part.item<double>());
  if (last && look_at(loss, value, record)) sums.collapsed = 1;
  const bool plain = !ranks_ && options_.accumulate == 1;
  const auto scaled = plain || weight == 0 ? loss.total : loss.total * weight;
  if (!ranks_ || !last) return scaled.backward();
  sums.stop = stop_wanted_ ? 1 : 0;
  reducer_->expect(scaled);
  sums = exchange(sums, [&] { scaled.backward(); });
}

// Sums over ranks, travelling while `meanwhile` runs.
Trainer::Sums Trainer::exchange(const Sums& own, const std::function<void()>& meanwhile) const {
  const auto values = at::tensor({own.weight, own.loss, own.samples, own.stop, own.collapsed}, at::kDouble).to(device_);
  ranks_->guarded([&] {
    const auto wait = ranks_->sum(values);
    meanwhile();
    wait();
  });
  const auto sums = values.cpu();
  const auto* at = sums.const_data_ptr<double>();
  return {at[0], at[1], at[2], at[3], at[4]};
}

Record Trainer::train_step(data::Loader& loader) {
  Record record;
  record.step = step_;
  record.epoch = step_ / steps_per_epoch_;
  record.lr = warmup_cosine(step_, total_steps_, options_.warmup_steps, options_.lr, options_.min_lr, options_.start_lr);
  optimizer_->zero_grad();
  Sums sums;
  for (std::int64_t micro = 0; micro < options_.accumulate; ++micro) micro_step(loader, micro + 1 == options_.accumulate, sums, record);
  if (sums.weight == 0) {
    const auto failures = loader.failures();  // with an example, because all of them failing has one cause mostly
    const auto what = "no sample of step " + std::to_string(step_) + " could be read" + (ranks_ ? ", by any rank" : "");
    if (failures.empty()) throw ReadError(plan_.source->describe(0).file, what);
    throw ReadError(plan_.source->describe(failures.front().sample).file, what + "; the first that failed: " + failures.front().message);
  }
  record.loss = sums.loss / sums.weight;
  record.samples = static_cast<std::int64_t>(sums.samples);
  stop_agreed_ = sums.stop > 0;
  check_finite(record.loss, "loss", last_samples_);
  if (sums.collapsed > 0)
    throw CollapseError("the features have collapsed at step " + std::to_string(step_) + ": over the samples of a batch they vary by less than " +
                        exact_text(options_.collapse_std) + " of their size" +
                        (std::isnan(record.features.std) ? "" : " (" + exact_text(record.features.std) + ")") + ", or the loss (" + exact_text(record.loss) +
                        " in all) is that of equal answers to all samples");
  objective_->after_backward({step_, total_steps_, ranks_ ? ranks_.get() : &nn::Comm::alone()});
  // Gradients are sums of weighted ones by now, divided by the number of ranks in the reduction.
  const bool plain = !ranks_ && options_.accumulate == 1;
  record.grad_norm = optimizer_->clip(options_.clip_norm, plain ? 1 : static_cast<double>(ranks_ ? ranks_->size() : 1) / sums.weight);
  check_finite(record.grad_norm, "gradient", last_samples_);
  const double decay = options_.optimizer.weight_decay;
  optimizer_->step(record.lr, options_.final_weight_decay < 0 ? decay : cosine(step_, total_steps_, decay, options_.final_weight_decay));
  objective_->after_step({step_, total_steps_, ranks_ ? ranks_.get() : &nn::Comm::alone()});
  ++step_;
  update_average();
  epoch_loss_ += record.loss;
  return record;
}

bool Trainer::look_at(const methods::Loss& loss, double value, Record& record) {
  if (options_.monitor_every == 0 || step_ % options_.monitor_every != 0) return false;
  if (loss.features.defined()) record.features = feature_health(loss.features);
  // A loss that sits at the value of no knowledge has collapsed as well, whatever the features' spread.
  const double answers = loss.answers.defined() ? loss.answers.item<double>() : value;
  const bool nothing = std::abs(answers - loss.learned_nothing) < kNothingLearned * std::abs(loss.learned_nothing);
  const bool collapsed = options_.collapse_std > 0 && (record.features.std < options_.collapse_std || nothing);
  collapsed_looks_ = collapsed ? collapsed_looks_ + 1 : 0;
  return collapsed_looks_ >= kCollapsedLooks;
}

void Trainer::update_average() {
  if (average_.empty()) return;
  const c10::NoGradGuard guard;
  at::_foreach_lerp_(average_, averaged_, 1 - options_.ema_decay);
}

void Trainer::end_epoch() {
  const double mean = epoch_loss_ / static_cast<double>(steps_per_epoch_);
  epoch_loss_ = 0;
  if (mean < best_loss_) {
    best_loss_ = mean;
    if (!options_.checkpoint_folder.empty() && first()) write("best.safetensors");
  }
}

std::int64_t Trainer::batch_of(std::int64_t step) const {
  return step / steps_per_epoch_ * plan_.sampler->batches_per_epoch() + step % steps_per_epoch_ * options_.accumulate;
}

void Trainer::seek(std::int64_t step) {
  if (step < 0 || step > total_steps_)
    throw ValueError("Trainer: step=" + std::to_string(step) + " must be within the schedule's 0 to " + std::to_string(total_steps_));
  step_ = step;
  // An epoch that is not seen from its start has no mean, so that it cannot be the best one.
  epoch_loss_ = step % steps_per_epoch_ == 0 ? 0 : std::numeric_limits<double>::quiet_NaN();
}

bool Trainer::fit(const Report& report, std::int64_t until) {
  if (until < 0) until = total_steps_;
  if (until < step_)
    throw ValueError("Trainer: until=" + std::to_string(until) + " is before the present step " + std::to_string(step_) + ": seek there first");
  if (until > total_steps_)
    throw ValueError("Trainer: until=" + std::to_string(until) + " must be within the schedule's " + std::to_string(total_steps_) + " steps");
  using Clock = std::chrono::steady_clock;
  at::set_num_threads(options_.intra_op_threads);
  if (ranks_) synchronise(until);
  auto options = plan_.options;
  options.first = static_cast<std::uint64_t>(batch_of(step_));
  options.end = static_cast<std::uint64_t>(batch_of(std::max(step_, until)));
  data::Loader loader(plan_.source, plan_.recipe, plan_.sampler, options);
  objective_->train();
  const auto start = Clock::now();
  auto last_report = start;
  const std::int64_t batches_left_over = plan_.sampler->batches_per_epoch() - steps_per_epoch_ * options_.accumulate;
  std::vector<Record> records;
  std::exception_ptr thrown;  // by the report, while other ranks have to be told first
  std::int64_t saved_at = -1;
  const auto save_at_step = [&] {
    if (!options_.checkpoint_folder.empty() && saved_at != step_ && first()) save();
    saved_at = step_;
  };
  stop_wanted_ = stop_agreed_ = false;
  while (step_ < until) {
    records.push_back(train_step(loader));
    records.back().seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const bool epoch_ended = step_ % steps_per_epoch_ == 0;
    if (epoch_ended) {
      end_epoch();
      // Batches that do not fill a step are read past, so that a batch's number and its epoch stay in step.
      for (std::int64_t i = 0; i < batches_left_over; ++i) loader.next();
    }
    const bool save_due = step_ == until || (options_.checkpoint_every > 0 ? step_ % options_.checkpoint_every == 0 : epoch_ended);
    // Reported before it is saved: after a kill the checkpoint must not know of steps that the history does not.
    if (save_due || stop_agreed_ || std::chrono::duration<double>(Clock::now() - last_report).count() >= options_.report_interval) {
      failures_ = loader.failures();
      try {
        if (!report(records)) stop_wanted_ = true;
      } catch (...) {
        if (!thrown) thrown = std::current_exception();
        stop_wanted_ = true;
      }
      records.clear();
      last_report = Clock::now();
    }
    // A rank that wants to stop says so with the next step, and all stop after it: one that left alone would leave the others waiting.
    const bool stop = ranks_ ? stop_agreed_ : stop_wanted_;
    if (save_due || stop) save_at_step();
    if (stop) break;
  }
  if (thrown) std::rethrow_exception(thrown);
  return !stop_wanted_ && !stop_agreed_;
}

}  // namespace sslmed::train
