#pragma once
// Reads, transforms, masks and packs batches in threads; gives them in order. The stream is the same for any number of
// threads, and its whole state is one integer: the number of the next batch.

#include <unistd.h>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/ordered_queue.h"
#include "core/thread_pool.h"
#include "data/batch.h"
#include "data/recipe.h"
#include "data/sampler.h"
#include "data/source.h"

namespace sslmed::data {

enum class OnError { kRaise, kSkip };

struct LoaderOptions {
  unsigned threads = 1;
  unsigned prefetch = 2;  // batches made ahead, besides the one that the threads work on
  OnError on_error = OnError::kRaise;
  std::uint64_t first = 0, end = 0;  // batches [first, end), counted through the epochs
  unsigned rank = 0, ranks = 1;      // of each batch only this rank's share: [n * rank / ranks, n * (rank + 1) / ranks)
};

// All that makes a stream of batches: what a loader is opened with, here or by a training loop.
struct LoaderPlan {
  std::shared_ptr<const Source> source;
  std::shared_ptr<const Sampler> sampler;
  std::shared_ptr<const Recipe> recipe;  // null: the objective's
  LoaderOptions options;
};

struct Failure {
  std::int64_t sample;
  std::string message;
};

// A loader is used by a process that was forked from the one that opened it.
class ForkError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Loader {
 public:
  Loader(std::shared_ptr<const Source> source, std::shared_ptr<const Recipe> recipe, std::shared_ptr<const Sampler> sampler, const LoaderOptions& options);
  ~Loader();

  // The next batch, or nothing after the last. Rethrows what a thread threw (kRaise), at its place in the order. ForkError in a process that was forked
  // after the loader was opened: it has none of the threads.
  std::optional<Batch> next();
  // The number of the batch that next() gives.
  std::uint64_t position() const { return queue_.position(); }
  // Samples that could not be read so far (kSkip), each once.
  std::vector<Failure> failures() const;
  const Sampler& sampler() const noexcept { return *sampler_; }
  const Source& source() const noexcept { return *source_; }
  // Whether this process opened it. Another one must not destroy it either: there are locks inside that nobody opens again.
  bool is_own() const noexcept { return ::getpid() == process_; }

 private:
  // A batch under way. The threads share its samples out, so that few batches are in memory at a time and the first one comes
  // as soon as all of them can make it.
  struct Job {
    std::uint64_t number = 0, epoch = 0;
    std::vector<Pick> picks;
    std::vector<std::int64_t> ids;
    std::vector<std::vector<View>> views;
    std::vector<Targets> targets;
    std::vector<std::exception_ptr> errors;
    std::size_t next = 0;  // guarded by job_mutex_
    std::atomic<std::size_t> left = 0;
  };

  void work();
  // The job with a sample to make, and which; nothing when all are given out.
  std::shared_ptr<Job> take(std::size_t& slot);
  void make(Job& job, std::size_t slot);
  void finish(Job& job);

  std::shared_ptr<const Source> source_;
  std::shared_ptr<const Recipe> recipe_;
  std::shared_ptr<const Sampler> sampler_;
  LoaderOptions options_;
  pid_t process_ = ::getpid();
  OrderedQueue<Batch> queue_;
  std::shared_ptr<BufferPool> pool_;
  std::mutex job_mutex_;
  std::shared_ptr<Job> job_;
  mutable std::mutex failures_mutex_;
  std::vector<Failure> failures_;
  std::unordered_set<std::int64_t> failed_;  // their samples
  ThreadPool threads_;                       // last: it is joined before anything that it uses goes
};

}  // namespace sslmed::data
