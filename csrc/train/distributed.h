#pragma once
// The other processes of a run, on torch's c10d. The only place that knows it, because parts of its C++ interface are private.

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "nn/comm.h"

namespace c10d {
class ProcessGroup;
class Reducer;
}  // namespace c10d

namespace sslmed::train {

// Another rank is gone or did not answer within the process group's time-out. The run goes on from its last checkpoint.
class DistributedError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Ranks : public nn::Comm {
 public:
  explicit Ranks(c10::intrusive_ptr<c10d::ProcessGroup> group);
  ~Ranks() override;
  int rank() const override;
  int size() const override;
  at::Tensor all_gather(const at::Tensor& rows) const override;

  // Starts to sum `values` over the ranks, in place. The call that comes back waits for it.
  std::function<void()> sum(const at::Tensor& values) const;
  // Rank 0's values, everywhere, in place.
  void broadcast(const std::vector<at::Tensor>& tensors) const;
  const c10::intrusive_ptr<c10d::ProcessGroup>& group() const noexcept { return group_; }
  // Runs `work`; what it throws because another rank is lost becomes a DistributedError that says so.
  void guarded(const std::function<void()>& work) const;

 private:
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
};

// Means gradients over ranks bucket by bucket while the backward pass still runs: c10d's Reducer, the engine under DDP.
class GradientReducer {
 public:
  GradientReducer(const Ranks& ranks, std::vector<at::Tensor> parameters);
  ~GradientReducer();
  // The next backward pass, from this loss, reduces what gradients hold by then; passes without it only accumulate.
  void expect(const at::Tensor& loss);

 private:
  std::unique_ptr<c10d::Reducer> reducer_;
};

}  // namespace sslmed::train
