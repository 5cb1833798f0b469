#include "train/distributed.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#include <type_traits>
#include <utility>

namespace sslmed::train {
namespace {

constexpr std::int64_t kBucketBytes = 25 << 20, kFirstBucketBytes = 1 << 20;  // DDP's

void sum_over(const c10::intrusive_ptr<c10d::ProcessGroup>& group, at::Tensor& tensor) {
  std::vector<at::Tensor> tensors{tensor};
  group->allreduce(tensors)->wait();
}

// Rows of every rank; backward sums what all ranks' losses say of the own rows.
class AllGather : public torch::autograd::Function<AllGather> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& rows, const Ranks* ranks) {
    auto counts = at::zeros({ranks->size()}, rows.options().dtype(at::kLong));
    counts[ranks->rank()] = rows.size(0);
    sum_over(ranks->group(), counts);
    counts = counts.cpu();
    std::int64_t first = 0, total = 0;
    for (int r = 0; r < ranks->size(); ++r) {
      if (r == ranks->rank()) first = total;
      total += counts[r].item<std::int64_t>();
    }
    context->saved_data["first"] = first;
    context->saved_data["count"] = rows.size(0);
    context->saved_data["ranks"] = reinterpret_cast<std::int64_t>(ranks);
    auto shape = rows.sizes().vec();
    shape[0] = total;
    // Each rank fills its own place: exact for any counts, and the same operation as backward's.
    auto all = at::zeros(shape, rows.options());
    all.narrow(0, first, rows.size(0)).copy_(rows);
    sum_over(ranks->group(), all);
    return all;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto* ranks = reinterpret_cast<const Ranks*>(context->saved_data["ranks"].toInt());
    auto gradient = gradients[0].contiguous().clone();
    sum_over(ranks->group(), gradient);
    return {gradient.narrow(0, context->saved_data["first"].toInt(), context->saved_data["count"].toInt()), at::Tensor()};
  }
};

// The Reducer's advice is for authors of models: not to look for unused parameters where the first step has none (later ones may:
// channels that few recordings have, a rank without samples), and on strides that differ in axes of one.
class ReducerMuted : c10::WarningHandler {
 public:
  ReducerMuted() : usual_(c10::WarningUtils::get_warning_handler()), guard_(this) {}
  void process(const c10::Warning& warning) override {
    if (std::string_view(warning.source_location().file).find("reducer.cpp") == std::string_view::npos) usual_->process(warning);
  }

 private:
  c10::WarningHandler* usual_;
  c10::WarningUtils::WarningHandlerGuard guard_;
};

// The Reducer's constructor is not a public interface: 2.13 has one parameter more than its predecessors.
template <class Reducer, class... Common>
std::unique_ptr<Reducer> make_reducer(Common&&... common) {
  if constexpr (std::is_constructible_v<Reducer, Common..., std::vector<std::int64_t>>) {
    return std::make_unique<Reducer>(std::forward<Common>(common)..., std::vector<std::int64_t>{});
  } else {
    return std::make_unique<Reducer>(std::forward<Common>(common)...);
  }
}

}  // namespace

Ranks::Ranks(c10::intrusive_ptr<c10d::ProcessGroup> group) : group_(std::move(group)) {}
Ranks::~Ranks() = default;
int Ranks::rank() const { return group_->getRank(); }
int Ranks::size() const { return group_->getSize(); }

at::Tensor Ranks::all_gather(const at::Tensor& rows) const { return AllGather::apply(rows, this); }

std::function<void()> Ranks::sum(const at::Tensor& values) const {
  std::vector<at::Tensor> tensors{values};
  return [work = group_->allreduce(tensors)] { work->wait(); };
}

void Ranks::broadcast(const std::vector<at::Tensor>& tensors) const {
  const c10::NoGradGuard guard;
  // Coalesced by type; scalars as vectors of one, which flattening wants.
  std::vector<at::Tensor> rest;
  for (const auto& tensor : tensors) rest.push_back(tensor.detach());
  while (!rest.empty()) {
    const auto type = rest.front().scalar_type();
    const auto end = std::stable_partition(rest.begin(), rest.end(), [&](const at::Tensor& t) { return t.scalar_type() == type; });
    c10d::broadcast_coalesced(group_, at::TensorList(rest.data(), static_cast<std::size_t>(end - rest.begin())), kBucketBytes);
    rest.erase(rest.begin(), end);
  }
}

void Ranks::guarded(const std::function<void()>& work) const {
  const auto fail = [this](const std::exception& error) {
    std::string cause = error.what();
    cause = cause.substr(0, cause.find('\n'));
    throw DistributedError("rank " + std::to_string(rank()) + " of " + std::to_string(size()) + " lost the others: " + cause);
  };
  const ReducerMuted muted;
  try {
    work();
  } catch (const c10::DistError& error) {
    fail(error);
  } catch (const c10::Error&) {
    throw;                                     // the model's own
  } catch (const std::runtime_error& error) {  // Gloo's, whose type torch does not show
    fail(error);
  }
}

GradientReducer::GradientReducer(const Ranks& ranks, std::vector<at::Tensor> parameters) {
  std::vector<std::int64_t> order;
  const auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(parameters, {kFirstBucketBytes, kBucketBytes}, {}, order));
  // Gradients come from the last layers first, so those fill the first bucket.
  std::vector<std::vector<std::size_t>> reversed(buckets.rbegin(), buckets.rend());
  std::vector<bool> sparse(parameters.size(), false);
  reducer_ = make_reducer<c10d::Reducer>(std::move(parameters), std::move(reversed), ranks.group(), std::move(sparse), kBucketBytes,
                                         /*find_unused_parameters=*/true, /*gradient_as_bucket_view=*/false, std::unordered_map<std::size_t, std::string>{},
                                         kFirstBucketBytes, /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false);
}

GradientReducer::~GradientReducer() = default;

void GradientReducer::expect(const at::Tensor& loss) {
  const ReducerMuted muted;
  reducer_->prepare_for_backward({loss});
}

}  // namespace sslmed::train
