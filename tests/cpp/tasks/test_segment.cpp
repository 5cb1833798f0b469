#include <cmath>
#include <functional>

#include "catch.h"
#include "nn/models.h"
#include "small.h"
#include "tasks/segment.h"

using namespace sslmed;
using tasks::DiceCeOptions;
using tasks::Segment;
using tasks::SegmentOptions;

namespace {

std::shared_ptr<Segment> segment_task(std::vector<std::int64_t> values, DiceCeOptions loss = {}) {
  nn::ModelConfig config;
  config.name = "unet", config.rank = 3, config.in_chans = 1;
  config.options = {{"filters", std::vector<std::int64_t>{2, 4}}};
  SegmentOptions options;
  options.values = std::move(values);
  options.loss = std::move(loss);
  auto task = std::make_shared<Segment>(nn::create_dense(config), options);
  task->to(at::kDouble);
  return task;
}

// Crops of ramps with label maps: `labels(i)` of sample i.
data::Batch labeled_batch(std::int64_t n, const std::function<at::Tensor(std::int64_t)>& labels) {
  const toy::RampSource source(n);
  data::GridView view;
  view.crop = {6, 6, 6};
  const data::GridRecipe recipe({view});
  auto batch = testing::batch_of({{&source, &recipe}}, n);
  auto& maps = batch.views[0].targets["labels"];
  for (std::int64_t i = 0; i < n; ++i) maps.push_back(labels(i));
  return batch;
}

at::Tensor halves(std::int64_t i) { return at::arange(216, at::kInt).view({6, 6, 6}).ge(100 + i).to(at::kInt) * 9; }

}  // namespace

TEST_CASE("Dice and cross-entropy of a perfect and of an indifferent prediction") {
  const auto labels = at::tensor({0, 1, 1, 2}, at::kLong).view({1, 2, 2});
  const auto sure = at::one_hot(labels, 3).permute({0, 3, 1, 2}).to(at::kDouble) * 100;
  CHECK(tasks::dice_ce(sure, labels, {}).item<double>() == Approx(0).margin(1e-5));
  const auto even = at::zeros({1, 3, 2, 2}, at::kDouble);
  // said of each class: 4/3; overlaps: 1/3, 2/3, 1/3.
  const double dice = 1 - (2.0 / 3 / (1 + 4.0 / 3) * 2 + 4.0 / 3 / (2 + 4.0 / 3)) / 3;
  CHECK(tasks::dice_ce(even, labels, {}).item<double>() == Approx(dice + std::log(3)).epsilon(1e-4));
  DiceCeOptions half;
  half.dice_weight = 0, half.ce_weight = 2;
  CHECK(tasks::dice_ce(even, labels, half).item<double>() == Approx(2 * std::log(3)));
}

TEST_CASE("cells without a label count in neither loss") {
  const auto labels = at::randint(0, 3, {2, 5, 5}, at::kLong), logits = at::randn({2, 3, 5, 5}, at::kDouble);
  auto some = labels.clone();
  some.narrow(2, 3, 2).fill_(-1);
  const auto part = tasks::dice_ce(logits.narrow(3, 0, 3), labels.narrow(2, 0, 3), {});
  CHECK(tasks::dice_ce(logits, some, {}).item<double>() == Approx(part.item<double>()));
  CHECK_THROWS_WITH(tasks::dice_ce(logits, labels + 3, {}), Catch::Contains("3"));
}

TEST_CASE("the gradient of Dice and cross-entropy is its slope") {
  const auto labels = at::randint(0, 3, {2, 3, 3}, at::kLong);
  DiceCeOptions options;
  options.squared = true, options.label_smoothing = 0.1, options.class_weights = {1, 2, 0.5};
  auto logits = at::randn({2, 3, 3, 3}, at::kDouble).set_requires_grad(true);
  tasks::dice_ce(logits, labels, options).backward();
  const auto along = at::randn_like(logits).detach();
  const auto value = [&](double step) { return tasks::dice_ce(logits.detach() + step * along, labels, options).item<double>(); };
  CHECK((value(1e-6) - value(-1e-6)) / 2e-6 == Approx((logits.grad() * along).sum().item<double>()).epsilon(1e-5));
}

TEST_CASE("a segmentation task counts what the table of values says") {
  const auto task = segment_task({0, 9});
  auto batch = labeled_batch(3, halves);
  const auto all = task->loss(batch, {});
  CHECK(all.weight == 3);
  const auto logits = task->forward(batch.views[0].dense("test").values.to(at::kDouble));
  double expected = 0;
  for (std::int64_t i = 0; i < 3; ++i) expected += tasks::dice_ce(logits.narrow(0, i, 1), halves(i).gt(0).to(at::kLong).unsqueeze(0), {}).item<double>() / 3;
  CHECK(all.total.item<double>() == Approx(expected));
  REQUIRE(all.parts.size() == 2);
  CHECK(all.per_sample.mean().item<double>() == Approx(expected));
  all.total.backward();
  for (const auto& parameter : task->parameters())
    if (parameter.requires_grad() && parameter.grad().defined()) CHECK(parameter.grad().isfinite().all().item<bool>());
}

TEST_CASE("samples without a labeled cell do not count") {
  const auto task = segment_task({0, 9});
  auto one = labeled_batch(2, [](std::int64_t i) { return i == 0 ? halves(0) : at::full({6, 6, 6}, -1, at::kInt); });
  CHECK(task->loss(one, {}).weight == 1);
  auto none = labeled_batch(1, [](std::int64_t) { return at::full({6, 6, 6}, -1, at::kInt); });
  const auto lost = task->loss(none, {});
  CHECK(lost.weight < 1e-9);
  CHECK(lost.total.item<double>() == 0);
}

TEST_CASE("labels that are no class are refused") {
  const auto task = segment_task({0, 9});
  auto batch = labeled_batch(1, [](std::int64_t i) { return halves(i).clamp_max(4); });
  CHECK_THROWS_WITH(task->loss(batch, {}), Catch::Contains("holds 4"));
  batch.views[0].targets.clear();
  CHECK_THROWS_WITH(task->loss(batch, {}), Catch::Contains("no target 'labels'"));
  CHECK_THROWS_WITH(segment_task({0}), Catch::Contains("values has 1"));
  CHECK_THROWS_WITH(segment_task({3, 3}), Catch::Contains("3 twice"));
  DiceCeOptions loss;
  loss.ignore = 9;
  CHECK_THROWS_WITH(segment_task({0, 9}, loss), Catch::Contains("ignore=9"));
}
