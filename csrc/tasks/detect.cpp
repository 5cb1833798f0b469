#include "tasks/detect.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "tasks/detect_losses.h"
#include "tasks/detect_targets.h"

namespace sslmed::tasks {
namespace {

nn::SegmenterConfig detector_config(const DetectOptions& o) {
  TORCH_CHECK_VALUE(o.classes >= 1 && o.classes < (1 << 15), "detect: classes=", o.classes, " must be within 1 and 32767");
  TORCH_CHECK_VALUE(o.features >= 2, "detect: features=", o.features, " must be at least 2");
  TORCH_CHECK_VALUE(o.stride >= 1, "detect: stride=", o.stride, " must be at least 1");
  TORCH_CHECK_VALUE(o.kind != Detected::kStars || o.rays >= 3, "detect: rays=", o.rays, " must be at least 3");
  TORCH_CHECK_VALUE(o.scale > 0, "detect: scale=", o.scale, " must be positive");
  TORCH_CHECK_VALUE(o.radius >= 0, "detect: radius=", o.radius, " must not be negative");
  TORCH_CHECK_VALUE(o.min_overlap > 0 && o.min_overlap < 1, "detect: min_overlap=", o.min_overlap, " must be within (0, 1)");
  for (const auto& [name, weight] : {std::pair("score_weight", o.score_weight),
                                     {"offset_weight", o.offset_weight},
                                     {"size_weight", o.size_weight},
                                     {"distance_weight", o.distance_weight},
                                     {"class_weight", o.class_weight},
                                     {"background", o.background}})
    TORCH_CHECK_VALUE(weight >= 0, "detect: ", name, "=", weight, " must not be negative");
  nn::SegmenterConfig config;
  config.decoder = o.decoder;
  config.classes = config.features = o.features;
  config.layers = o.layers;
  config.style = {o.groups, o.residual, o.attention};
  config.seed = o.seed + 1;
  return config;
}

at::Tensor pooled(const at::Tensor& x, std::int64_t stride) {
  if (stride == 1) return x;
  for (std::int64_t axis = 2; axis < x.dim(); ++axis)
    TORCH_CHECK_VALUE(x.size(axis) % stride == 0, "detect: a view of ", x.sizes().slice(2), " cells must have a multiple of stride=", stride);
  const std::vector<std::int64_t> kernel(static_cast<std::size_t>(x.dim() - 2), stride);
  return x.dim() == 3 ? at::avg_pool1d(x, kernel) : x.dim() == 4 ? at::avg_pool2d(x, kernel) : at::avg_pool3d(x, kernel);
}

}  // namespace

Detect::Detect(std::shared_ptr<nn::Encoder> encoder, const DetectOptions& options, std::shared_ptr<const data::Recipe> recipe)
    : DenseTask(std::move(encoder), detector_config(options), {options.tuned, options.layer_decay, options.drop_path, options.seed}, std::move(recipe),
                "detect"),
      options_(options),
      rank_(methods::map_shape(*net().encoder(), "detect").rank) {
  TORCH_CHECK_VALUE(options.kind != Detected::kStars || rank_ == 2, "detect: kind='stars' is for pictures, got an encoder of rank ", rank_);
  nn::DetectionHeadConfig head;
  head.rank = rank_;
  head.in = options.features;
  head.scores = scores();
  head.numbers = numbers();
  head.seed = options.seed + 2;
  head_ = register_module("head", std::make_shared<nn::DetectionHead>(head));
}

std::int64_t Detect::numbers() const {
  switch (options_.kind) {
    case Detected::kPoints:
      return rank_;
    case Detected::kBoxes:
      return 2 * rank_;
    default:
      return options_.rays + (options_.classes > 1 ? options_.classes + 1 : 0);
  }
}

at::Tensor Detect::raw(const at::Tensor& decoded, const nn::Rows& rows) const {
  const auto out = head_->forward(pooled(decoded, options_.stride), rows);
  return out.scalar_type() == at::kDouble ? out : out.to(at::kFloat);
}

at::Tensor Detect::forward(const at::Tensor& dense) const {
  const auto maps = raw(net().forward(dense), nn::Rows::single(dense.size(0)));
  const auto part = [&](std::int64_t first, std::int64_t count) { return maps.slice(1, first, first + count); };
  const auto score = part(0, scores()).sigmoid();
  if (options_.kind == Detected::kPoints) return at::cat({score, part(scores(), rank_)}, 1);
  if (options_.kind == Detected::kBoxes) return at::cat({score, part(scores(), rank_), (part(scores() + rank_, rank_) * options_.scale).clamp_min(0)}, 1);
  const auto distances = (part(1, options_.rays) * options_.scale).clamp_min(1e-3);
  if (options_.classes == 1) return at::cat({score, distances}, 1);
  return at::cat({score, distances, part(1 + options_.rays, options_.classes + 1).softmax(1)}, 1);
}

void Detect::add_centers(PartsOfLoss& to, const at::Tensor& maps, const std::vector<at::Tensor>& objects) const {
  const auto cells = maps.sizes().slice(2).vec();
  const auto numbers = maps.slice(1, scores()).flatten(2);  // [B, numbers, N]
  std::vector<at::Tensor> heat;
  auto offset = maps.new_zeros({}), size = maps.new_zeros({});
  double weight = 0;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    TORCH_CHECK_VALUE((objects[i].size(-1) == 2 * rank_ + 1) == (options_.kind == Detected::kBoxes), "detect: the target '", options_.target, "' must be ",
                      options_.kind == Detected::kBoxes ? "boxes" : "points", " of rank ", rank_, ", got ", objects[i].sizes());
    const auto target = center_targets(objects[i], cells, {options_.classes, options_.stride, options_.radius, options_.min_overlap});
    heat.push_back(target.heat);
    const auto n = target.cells.size(0);
    weight += static_cast<double>(std::max<std::int64_t>(n, 1));
    if (n == 0) continue;
    const auto said = numbers[static_cast<std::int64_t>(i)].index_select(1, target.cells.to(maps.device())).t();  // [n, numbers]
    const auto there = [&](const at::Tensor& x) { return x.to(maps.device(), maps.scalar_type()); };
    offset = offset + (said.slice(1, 0, rank_) - there(target.offsets)).abs().sum();
    if (target.sizes.defined()) size = size + (said.slice(1, rank_) * options_.scale - there(target.sizes)).abs().sum();
  }
  const auto focal = heat_focal(maps.slice(1, 0, scores()), at::stack(heat).to(maps.device(), maps.scalar_type())).sum();
  const auto total = options_.score_weight * focal + options_.offset_weight * offset + options_.size_weight * size;
  std::vector<std::pair<std::string, at::Tensor>> parts{{"heat_loss", focal.detach() / weight}, {"offset_loss", offset.detach() / weight}};
  if (options_.kind == Detected::kBoxes) parts.emplace_back("size_loss", size.detach() / weight);
  to.add(total / weight, weight, std::move(parts));
}

void Detect::add_stars(PartsOfLoss& to, const at::Tensor& maps, const std::vector<at::Tensor>& objects) const {
  std::vector<at::Tensor> probability, distances, classes;
  for (const auto& map : objects) {
    auto target = star_targets(map, options_.stride, options_.rays);
    TORCH_CHECK_VALUE(target.classes.sizes() == maps.sizes().slice(2), "detect: the target '", options_.target,
                      "' must be a label map of the view's size, got ", map.sizes(), " for maps of ", maps.sizes().slice(2),
                      " cells and stride=", options_.stride);
    probability.push_back(std::move(target.probability));
    distances.push_back(std::move(target.distances));
    classes.push_back(std::move(target.classes));
  }
  const auto there = [&](const std::vector<at::Tensor>& x) { return at::stack(x).to(maps.device(), maps.scalar_type()); };
  const auto true_classes = at::stack(classes).to(maps.device());
  const auto rays = maps.slice(1, 1, 1 + options_.rays) * options_.scale;
  const auto kinds = options_.classes > 1 ? maps.slice(1, 1 + options_.rays) : at::Tensor();
  const auto losses = star_losses(maps.select(1, 0), rays, kinds, there(probability), there(distances), true_classes, options_.background);
  const auto counted = true_classes.ge(0).flatten(1).any(1).to(maps.scalar_type());  // [B]
  const auto weight = counted.sum().item<double>();
  const auto mean = [&](const at::Tensor& x) { return (x * counted).sum() / std::max(weight, 1e-12); };
  auto total = options_.score_weight * mean(losses.probability) + options_.distance_weight * mean(losses.distances);
  std::vector<std::pair<std::string, at::Tensor>> parts{{"object_loss", mean(losses.probability.detach())}, {"distance_loss", mean(losses.distances.detach())}};
  if (losses.classes.defined()) {
    total = total + options_.class_weight * mean(losses.classes);
    parts.emplace_back("class_loss", mean(losses.classes.detach()));
  }
  to.add(total, weight, std::move(parts));
}

methods::Loss Detect::loss(const data::Batch& batch, const methods::Step& step) {
  check_views(batch, step, /*gathers=*/false);
  PartsOfLoss parts;
  for (const auto& view : batch.views) {
    const auto& objects = target_of(view, options_.target);
    const auto dense = this->dense(batch, view, step);
    const auto maps = raw(decoded(batch, view, dense, step), nn::Rows::single(dense.size(), methods::context_of(view, step).samples));
    if (options_.kind == Detected::kStars) {
      add_stars(parts, maps, objects);
    } else {
      add_centers(parts, maps, objects);
    }
  }
  return parts.mean();
}

}  // namespace sslmed::tasks
