#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "core/ordered_queue.h"

using sslmed::OrderedQueue;

TEST_CASE("values come out in the order of tickets") {
  OrderedQueue<int> queue(5, 505, 7);
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w)
    workers.emplace_back([&] {
      while (const auto ticket = queue.take_ticket()) {
        if (*ticket % 3 == 0) std::this_thread::yield();
        queue.put(*ticket, static_cast<int>(*ticket));
      }
    });
  for (int expected = 5; expected < 505; ++expected) {
    REQUIRE(queue.position() == static_cast<std::uint64_t>(expected));
    REQUIRE(queue.pop().value() == expected);
  }
  CHECK_FALSE(queue.pop().has_value());
  for (auto& worker : workers) worker.join();
}

TEST_CASE("at most `capacity` tickets are out") {
  OrderedQueue<int> queue(0, 100, 2);
  CHECK(queue.take_ticket() == 0u);
  CHECK(queue.take_ticket() == 1u);
  std::atomic<bool> got{false};
  std::thread third([&] {
    queue.take_ticket();
    got = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_FALSE(got);
  queue.put(1, 1);
  queue.put(0, 0);
  CHECK(queue.pop() == 0);
  third.join();
  CHECK(got);
}

TEST_CASE("an exception reaches the consumer at its place, and closes") {
  OrderedQueue<std::unique_ptr<int>> queue(0, 10, 5);
  for (int i = 0; i < 3; ++i) queue.take_ticket();
  queue.fail(1, std::make_exception_ptr(std::runtime_error("second")));
  queue.put(2, std::make_unique<int>(2));
  queue.put(0, std::make_unique<int>(0));
  CHECK(*queue.pop().value() == 0);
  CHECK_THROWS_WITH(queue.pop(), "second");
  CHECK_FALSE(queue.pop().has_value());
  CHECK_FALSE(queue.take_ticket().has_value());
}

TEST_CASE("close wakes everyone") {
  OrderedQueue<int> queue(0, 100, 1);
  queue.take_ticket();
  std::atomic<int> got{0};  // Catch2's assertions are for one thread
  std::thread consumer([&] { got += queue.pop().has_value(); });
  std::thread producer([&] { got += queue.take_ticket().has_value(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  queue.close();
  consumer.join();
  producer.join();
  CHECK(got == 0);
  queue.put(0, 1);  // a late value is dropped
}
