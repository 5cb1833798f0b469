#include "core/thread_pool.h"

#include <csignal>
#include <utility>

namespace sslmed {
namespace {

// Signals belong to the interpreter's main thread: a worker that took SIGINT would leave the main thread asleep.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

void ThreadPool::start(unsigned n, const std::function<void(unsigned)>& body, std::function<void()> stop) {
  stop_ = std::move(stop);
  const BlockedSignals blocked;  // threads inherit the mask
  try {
    threads_.reserve(n);
    for (unsigned i = 0; i < n; ++i) threads_.emplace_back(body, i);
  } catch (...) {
    join();
    throw;
  }
}

void ThreadPool::join() {
  if (stop_) stop_();
  for (auto& thread : threads_)
    if (thread.joinable()) thread.join();
  threads_.clear();
}

}  // namespace sslmed
