#include "data/loader.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace sslmed::data {

Loader::Loader(std::shared_ptr<const Source> source, std::shared_ptr<const Recipe> recipe, std::shared_ptr<const Sampler> sampler, const LoaderOptions& options)
    : source_(std::move(source)),
      recipe_(std::move(recipe)),
      sampler_(std::move(sampler)),
      options_(options),
      queue_(options.first, std::max(options.first, options.end), std::uint64_t{options.threads} + options.prefetch) {
  if (options.threads < 1 || options.threads > 1024) throw ValueError("a loader needs 1 to 1,024 threads, got " + std::to_string(options.threads));
  threads_.start(options.threads, [this](unsigned) { work(); }, [this] { queue_.close(); });
}

Loader::~Loader() { threads_.join(); }

void Loader::work() {
  while (const auto ticket = queue_.take_ticket()) {
    try {
      queue_.put(*ticket, make(*ticket));
    } catch (...) {
      queue_.fail(*ticket, std::current_exception());
    }
  }
}

Batch Loader::make(std::uint64_t number) {
  const auto picks = sampler_->batch(number);
  const std::uint64_t epoch = number / static_cast<std::uint64_t>(sampler_->batches_per_epoch());
  std::vector<std::int64_t> ids;
  std::vector<std::vector<PatchView>> views(picks.size());
  for (std::size_t slot = 0; slot < picks.size(); ++slot) {
    const Draw draw{sampler_->seed(), epoch, picks[slot].draw};
    ids.push_back(picks[slot].sample);
    try {
      views[slot] = recipe_->make(source_->sample(picks[slot].sample, draw), draw);
    } catch (const std::exception& error) {
      if (options_.on_error == OnError::kRaise) throw;
      ids.back() = -1;
      const std::lock_guard lock(failures_mutex_);
      const bool known = std::any_of(failures_.begin(), failures_.end(), [&](const Failure& f) { return f.sample == picks[slot].sample; });
      if (!known) failures_.push_back({picks[slot].sample, error.what()});
    }
  }
  return assemble(number, std::move(ids), std::move(views));
}

std::optional<Batch> Loader::next() { return queue_.pop(); }

std::vector<Failure> Loader::failures() const {
  const std::lock_guard lock(failures_mutex_);
  return failures_;
}

}  // namespace sslmed::data
