#include "tasks/dense_task.h"

#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "methods/layers.h"
#include "nn/vit.h"

namespace sslmed::tasks {

DenseTask::DenseTask(std::shared_ptr<nn::Encoder> encoder, nn::SegmenterConfig config, const DenseTaskOptions& how, std::shared_ptr<const data::Recipe> recipe,
                     std::string who)
    : how_(how), recipe_(std::move(recipe)), who_(std::move(who)) {
  TORCH_CHECK_VALUE(encoder != nullptr, who_, ": needs an encoder");
  TORCH_CHECK_VALUE(how.layer_decay > 0 && how.layer_decay <= 1, who_, ": layer_decay=", how.layer_decay, " must be within (0, 1]");
  TORCH_CHECK_VALUE(how.drop_path >= 0 && how.drop_path < 1, who_, ": drop_path=", how.drop_path, " must be within [0, 1)");
  TORCH_CHECK_VALUE(how.drop_path == 0 || how.tuned == Tuned::kNothing || encoder->shape().depth > 0, who_, ": drop_path=", how.drop_path,
                    " needs an encoder with residual branches, and this one has none: set it to 0");
  TORCH_CHECK_VALUE(how.tuned != Tuned::kAdapters, who_, ": tuned='adapters' is not supported; use 'encoder' or 'nothing'");
  net_ = std::make_shared<nn::Segmenter>(std::move(encoder), std::move(config));
  register_module("encoder", net_->encoder());
  register_module("decoder", net_->decoder());
  if (how.tuned != Tuned::kNothing) return;
  for (auto& parameter : net_->encoder()->parameters()) parameter.set_requires_grad(false);
}

std::vector<methods::ParameterGroup> DenseTask::parameter_groups() const {
  return methods::layer_groups(Objective::parameter_groups(), *net_->encoder(), {how_.layer_decay});
}

methods::DenseView DenseTask::dense(const data::Batch& batch, const data::ViewBatch& view, const methods::Step& step) const {
  return methods::dense_view(batch, view, *net_->encoder(), how_.seed, step.number, who_.c_str());
}

at::Tensor DenseTask::decoded(const data::Batch& batch, const data::ViewBatch& view, const methods::DenseView& dense, const methods::Step& step) const {
  const auto& encoder = *net_->encoder();
  auto context = methods::context_of(view, step);
  if (is_training() && how_.tuned != Tuned::kNothing)
    context.drop_path = methods::drop_path_factors({how_.drop_path, encoder.shape().depth, how_.seed}, batch, view, dense.values.device());
  // A vision transformer takes its tokens as they are, with their coordinates.
  const bool tokens = dynamic_cast<const nn::VisionTransformer*>(&encoder) != nullptr;
  return net_->forward_view(tokens ? methods::input_of(view) : nn::Input(nn::DenseInput{dense.values, {}}), dense.values, context);
}

void DenseTask::check_views(const data::Batch& batch, const methods::Step& step, bool gathers) const {
  TORCH_CHECK_VALUE(!batch.views.empty(), who_, ": the batch has no views");
  TORCH_CHECK_VALUE(batch.views.size() == 1 || step.comm->size() == 1 || (!encoder()->gathers() && !gathers), who_,
                    ": what gathers over the ranks needs batches of views of one size, got ", batch.views.size(), " sizes");
}

const std::vector<at::Tensor>& DenseTask::target_of(const data::ViewBatch& view, const std::string& name) const {
  const auto found = view.targets.find(name);
  TORCH_CHECK_VALUE(found != view.targets.end(), who_, ": the views have no target '", name, "'");
  return found->second;
}

void PartsOfLoss::add(const at::Tensor& total, double weight, std::vector<std::pair<std::string, at::Tensor>> parts) {
  parts_.push_back({total, weight, std::move(parts)});
}

methods::Loss PartsOfLoss::mean() const {
  methods::Loss out;
  for (const auto& part : parts_) out.weight += part.weight;
  out.parts = parts_.front().parts;
  const auto share = [&](const Part& part, const at::Tensor& value) { return value * (parts_.size() == 1 ? 1 : part.weight / std::max(out.weight, 1e-12)); };
  for (const auto& part : parts_) {
    const auto own = share(part, part.total);
    const bool first = !out.total.defined();
    out.total = first ? own : out.total + own;
    for (std::size_t i = 0; i < part.parts.size(); ++i) {
      const auto value = share(part, part.parts[i].second);
      out.parts[i].second = first ? value : out.parts[i].second + value;
    }
  }
  out.weight = std::max(out.weight, 1e-12);  // not a single term: the batch does not count
  return out;
}

}  // namespace sslmed::tasks
