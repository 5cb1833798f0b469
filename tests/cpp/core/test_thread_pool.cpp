#include <atomic>
#include <catch2/catch.hpp>

#include "core/thread_pool.h"

TEST_CASE("every thread runs its body, and the destructor stops and joins") {
  std::atomic<int> ran{0};
  std::atomic<bool> stop{false};
  {
    sslmed::ThreadPool pool;
    pool.start(
        4,
        [&](unsigned i) {
          ran += static_cast<int>(i) + 1;
          while (!stop) std::this_thread::yield();
        },
        [&] { stop = true; });
    CHECK(pool.size() == 4);
  }
  CHECK(stop);
  CHECK(ran == 10);
}

TEST_CASE("an empty pool joins at once") {
  sslmed::ThreadPool pool;
  pool.join();
  pool.join();
}
