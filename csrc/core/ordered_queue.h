#pragma once
// A bounded queue whose output order is the order of tickets, not of arrival. It is what makes the loader's stream
// independent of its threads: workers take tickets, finish in any order, and the consumer sees 0, 1, 2 …

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>

namespace sslmed {

template <class T>
class OrderedQueue {
 public:
  // At most `capacity` tickets beyond the one the consumer waits for are in flight.
  OrderedQueue(std::uint64_t first, std::uint64_t end, std::uint64_t capacity)
      : next_out_(first), next_in_(first), end_(end), capacity_(capacity == 0 ? 1 : capacity) {}

  // A producer's next ticket; waits for room. Empty once all tickets are given out or the queue is closed.
  std::optional<std::uint64_t> take_ticket() {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return closed_ || next_in_ >= end_ || next_in_ < next_out_ + capacity_; });
    if (closed_ || next_in_ >= end_) return std::nullopt;
    return next_in_++;
  }

  void put(std::uint64_t ticket, T value) { place(ticket, std::move(value)); }
  // The exception reaches the consumer at the ticket's place in the order.
  void fail(std::uint64_t ticket, std::exception_ptr error) { place(ticket, std::move(error)); }

  // The next value in order; empty after the last ticket or once closed. Rethrows a producer's exception, and closes.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [&] { return closed_ || next_out_ >= end_ || ready_.count(next_out_) != 0; });
    if (closed_ || next_out_ >= end_) return std::nullopt;
    auto node = ready_.extract(next_out_);
    ++next_out_;
    if (auto* error = std::get_if<std::exception_ptr>(&node.mapped())) {
      closed_ = true;
      lock.unlock();
      wake_all();
      std::rethrow_exception(*error);
    }
    lock.unlock();
    room_.notify_all();
    return std::get<T>(std::move(node.mapped()));
  }

  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    wake_all();
  }

  // The ticket that pop() gives next: the whole state of a loader.
  std::uint64_t position() const {
    std::lock_guard lock(mutex_);
    return next_out_;
  }

 private:
  void place(std::uint64_t ticket, std::variant<T, std::exception_ptr> value) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      ready_.emplace(ticket, std::move(value));
    }
    filled_.notify_all();
  }
  void wake_all() {
    room_.notify_all();
    filled_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable room_, filled_;
  std::map<std::uint64_t, std::variant<T, std::exception_ptr>> ready_;
  std::uint64_t next_out_, next_in_, end_, capacity_;
  bool closed_ = false;
};

}  // namespace sslmed
