#include "methods/pretext.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <utility>

namespace sslmed::methods {

Pretext::Pretext(std::string name, std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<const data::Recipe> recipe, std::uint64_t seed)
    : name_(std::move(name)), encoder_(std::move(encoder)), recipe_(std::move(recipe)), seed_(seed) {
  TORCH_CHECK_VALUE(encoder_ != nullptr, name_, ": needs an encoder");
  register_module("encoder", encoder_);
}

DenseView Pretext::named_view(const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) const {
  TORCH_CHECK_VALUE(dense.dim() >= 3 && dense.dim() <= 5, name_, ": expected a batch [B, C, 1 to 3 spatial axes], got ", dense.sizes());
  TORCH_CHECK_VALUE(static_cast<std::int64_t>(sample_ids.size()) == dense.size(0), name_, ": sample_ids has ", sample_ids.size(), " numbers, expected ",
                    dense.size(0));
  DenseView view{standardized(dense, *encoder_), {}};
  for (const auto id : sample_ids) view.draws.push_back({seed_, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(id), 0});
  return view;
}

Exercise Pretext::exercise(const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) const {
  return pose(named_view(dense, sample_ids, step));
}

Attempt Pretext::forward_dense(const at::Tensor& dense, const std::vector<std::int64_t>& sample_ids, std::int64_t step) const {
  const auto view = named_view(dense, sample_ids, step);
  return attempt(view, pose(view), {});
}

nn::Features Pretext::encode(const Exercise& exercise, const DenseView& view, const nn::Context& context) const {
  auto own = context;
  const auto copies = exercise.input.size(0) / view.size();
  if (copies > 1) {
    own.samples.clear();
    for (const auto sample : context.samples) own.samples.insert(own.samples.end(), static_cast<std::size_t>(copies), sample);
  }
  return encoder_->forward_view(nn::DenseInput{exercise.input, {}}, own);
}

Loss Pretext::loss(const data::Batch& batch, const Step& step) {
  TORCH_CHECK_VALUE(!batch.views.empty(), name_, ": the batch has no views");
  std::vector<Attempt> all;
  Loss out;
  for (const auto& view : batch.views) {
    const auto dense = dense_view(batch, view, *encoder_, seed_, step.number, name_.c_str());
    TORCH_CHECK_VALUE(dense.values.dim() >= 3 && dense.values.dim() <= 5, name_, ": expected views of 1 to 3 spatial axes, got ", dense.values.sizes());
    all.push_back(attempt(dense, pose(dense), context_of(view, step)));
    out.weight += all.back().weight;
  }
  if (all.size() == 1) {
    auto& only = all.front();
    out.total = only.total, out.features = only.features, out.parts = std::move(only.parts);
    return out;
  }
  std::vector<at::Tensor> features;
  for (const auto& one : all) {
    const auto share = one.weight / out.weight;
    out.total = out.total.defined() ? out.total + one.total * share : one.total * share;
    for (std::size_t i = 0; i < one.parts.size(); ++i) {
      const auto& [name, value] = one.parts[i];
      if (out.parts.size() <= i) out.parts.emplace_back(name, at::zeros_like(value));
      out.parts[i].second = out.parts[i].second + value * share;
    }
    features.push_back(one.features);
  }
  out.features = at::cat(features);
  return out;
}

std::vector<std::int64_t> for_each_axis(const std::vector<std::int64_t>& given, std::int64_t rank, const std::string& who, const char* what) {
  TORCH_CHECK_VALUE(given.size() == 1 || static_cast<std::int64_t>(given.size()) == rank, who, ": ", what, " has ", given.size(),
                    " numbers, expected one, or one for each of ", rank, " axes");
  for (const auto number : given) TORCH_CHECK_VALUE(number > 0, who, ": ", what, "=", number, " must be at least 1");
  return given.size() == 1 ? std::vector<std::int64_t>(static_cast<std::size_t>(rank), given[0]) : given;
}

at::Tensor accuracy(const at::Tensor& scores, const at::Tensor& classes) { return scores.detach().argmax(1).eq(classes).to(scores.scalar_type()).mean(); }

}  // namespace sslmed::methods
