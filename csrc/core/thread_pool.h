#pragma once
// A fixed group of threads running one body each; joined on destruction. The loader's workers live here.

#include <functional>
#include <thread>
#include <vector>

namespace sslmed {

class ThreadPool {
 public:
  ThreadPool() = default;
  // Starts `n` threads. If one cannot be started, those already running are stopped through `stop` and joined.
  // `body` must not let an exception escape: hand it over (OrderedQueue::fail).
  void start(unsigned n, const std::function<void(unsigned)>& body, std::function<void()> stop);
  // Asks the bodies to end (through `stop`) and waits for them. Safe to call twice.
  void join();
  ~ThreadPool() { join(); }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  std::size_t size() const noexcept { return threads_.size(); }

 private:
  std::vector<std::thread> threads_;
  std::function<void()> stop_;
};

}  // namespace sslmed
