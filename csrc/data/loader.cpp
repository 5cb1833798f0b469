#include "data/loader.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/error.h"

namespace sslmed::data {
namespace {

// That no more files may be open says nothing of the file whose turn it was: it is never skipped.
bool is_limit_of_files(const std::exception& error) {
  const auto* read = dynamic_cast<const ReadError*>(&error);
  return read != nullptr && (read->error_number() == EMFILE || read->error_number() == ENFILE);
}

// As many batches as the threads need to have a sample each, and those made ahead.
std::uint64_t in_flight(const LoaderOptions& options, const Sampler& sampler) {
  const auto size = static_cast<std::uint64_t>(sampler.batch_size());
  return (options.threads + size - 1) / size + options.prefetch;
}

// This rank's part of a batch; none where a last batch has fewer samples than there are ranks.
std::vector<Pick> share(const std::vector<Pick>& picks, const LoaderOptions& options) {
  const auto n = static_cast<std::ptrdiff_t>(picks.size()), rank = static_cast<std::ptrdiff_t>(options.rank),
             ranks = static_cast<std::ptrdiff_t>(options.ranks);
  return {picks.begin() + n * rank / ranks, picks.begin() + n * (rank + 1) / ranks};
}

}  // namespace

Loader::Loader(std::shared_ptr<const Source> source, std::shared_ptr<const Recipe> recipe, std::shared_ptr<const Sampler> sampler, const LoaderOptions& options)
    : source_(std::move(source)),
      recipe_(std::move(recipe)),
      sampler_(std::move(sampler)),
      options_(options),
      queue_(options.first, std::max(options.first, options.end), in_flight(options, *sampler_)),
      pool_(BufferPool::make(in_flight(options, *sampler_))) {
  if (!recipe_) throw ValueError("Loader: recipe is missing; an objective around a bare network has none: build it with an encoder of a cohort");
  if (options.threads < 1 || options.threads > 1024) throw ValueError("Loader: threads=" + std::to_string(options.threads) + " must be within 1 and 1,024");
  if (options.rank >= options.ranks) throw ValueError("Loader: rank=" + std::to_string(options.rank) + " must be below ranks=" + std::to_string(options.ranks));
  threads_.start(options.threads, [this](unsigned) { work(); }, [this] { queue_.close(); });
}

Loader::~Loader() { threads_.join(); }

void Loader::work() {
  std::size_t slot = 0;
  while (const auto job = take(slot)) {
    make(*job, slot);
    if (job->left.fetch_sub(1) == 1) finish(*job);
  }
}

std::shared_ptr<Loader::Job> Loader::take(std::size_t& slot) {
  const std::lock_guard lock(job_mutex_);
  while (!job_ || job_->next == job_->picks.size()) {
    // Waiting for room under the lock is right: no other thread would find more to do.
    const auto ticket = queue_.take_ticket();
    if (!ticket) return nullptr;
    auto job = std::make_shared<Job>();
    try {
      job->number = *ticket;
      job->epoch = *ticket / static_cast<std::uint64_t>(sampler_->batches_per_epoch());
      job->picks = share(sampler_->batch(*ticket), options_);
      for (const auto& pick : job->picks) job->ids.push_back(pick.sample);
      job->views.resize(job->picks.size());
      job->targets.resize(job->picks.size());
      job->errors.resize(job->picks.size());
      job->left = job->picks.size();
    } catch (...) {
      queue_.fail(*ticket, std::current_exception());
      continue;
    }
    if (job->picks.empty()) {
      finish(*job);
    } else {
      job_ = std::move(job);
    }
  }
  slot = job_->next++;
  return job_;
}

void Loader::make(Job& job, std::size_t slot) {
  const auto& pick = job.picks[slot];
  const Draw draw{sampler_->seed(), job.epoch, pick.draw, job.number};
  try {
    auto sample = source_->sample(pick.sample, draw);
    for (const auto& [name, target] : sample.targets)  // what has places is the recipe's to move
      if (std::holds_alternative<double>(target)) job.targets[slot][name] = target;
    job.views[slot] = recipe_->make(std::move(sample), draw);
  } catch (const std::exception& error) {
    job.errors[slot] = std::current_exception();
    if (options_.on_error == OnError::kRaise || is_limit_of_files(error)) return;
    job.ids[slot] = -1;
    const std::lock_guard lock(failures_mutex_);
    if (failed_.insert(pick.sample).second) failures_.push_back({pick.sample, error.what()});
  } catch (...) {
    job.errors[slot] = std::current_exception();
  }
}

void Loader::finish(Job& job) {
  try {
    for (std::size_t slot = 0; slot < job.errors.size(); ++slot)
      if (job.errors[slot] && job.ids[slot] >= 0) std::rethrow_exception(job.errors[slot]);  // the first in the batch's order
    queue_.put(job.number, assemble(job.number, std::move(job.ids), std::move(job.views), *pool_, job.targets));
  } catch (...) {
    queue_.fail(job.number, std::current_exception());
  }
}

std::optional<Batch> Loader::next() {
  if (!is_own())
    throw ForkError("Loader: was opened by process " + std::to_string(process_) + " and has no threads in the forked process " + std::to_string(::getpid()) +
                    "; open a loader after the fork, or start processes with 'spawn'");
  return queue_.pop();
}

std::vector<Failure> Loader::failures() const {
  const std::lock_guard lock(failures_mutex_);
  return failures_;
}

}  // namespace sslmed::data
