#pragma once
// The values that were used last, made when they are missing. Thread-safe.

#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace sslmed {

template <class Key, class Value>
class Lru {
 public:
  explicit Lru(std::size_t capacity) : capacity_(capacity) {}

  template <class Make>
  std::shared_ptr<const Value> get(const Key& key, const Make& make) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = by_key_.find(key); found != by_key_.end()) {
        recent_.splice(recent_.begin(), recent_, found->second);
        return found->second->second;
      }
    }
    std::shared_ptr<const Value> value = make();  // outside the lock: a slow disk must not stop the other threads
    const std::lock_guard lock(mutex_);
    if (const auto found = by_key_.find(key); found != by_key_.end()) return found->second->second;
    recent_.emplace_front(key, value);
    by_key_[key] = recent_.begin();
    if (recent_.size() > capacity_) {
      by_key_.erase(recent_.back().first);
      recent_.pop_back();
    }
    return value;
  }

 private:
  using Entry = std::pair<Key, std::shared_ptr<const Value>>;
  std::size_t capacity_;
  std::mutex mutex_;
  std::list<Entry> recent_;
  std::unordered_map<Key, typename std::list<Entry>::iterator> by_key_;
};

}  // namespace sslmed
