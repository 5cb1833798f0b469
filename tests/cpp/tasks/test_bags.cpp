#include <cmath>
#include <functional>

#include "catch.h"
#include "data/bags.h"
#include "io/safetensors.h"
#include "tasks/bags.h"
#include "temporary.h"
#include "train/trainer.h"

using namespace sslmed;
using tasks::BagTask;
using tasks::BagTaskOptions;
using tasks::Outcome;

namespace {

// Bags of 3 to 12 rows; every second one has a row unlike the others.
std::shared_ptr<data::BagSource> bag_source_of(const testing::TemporaryFolder& folder, std::int64_t bags) {
  std::vector<data::BagEntry> entries;
  for (std::int64_t b = 0; b < bags; ++b) {
    const auto n = 3 + b % 10;
    std::vector<float> rows(static_cast<std::size_t>(4 * n));
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = std::sin(static_cast<float>(i) + static_cast<float>(b));
    if (b % 2 == 1) rows[1] = 6;
    std::vector<std::int64_t> coords(static_cast<std::size_t>(2 * n));
    for (std::int64_t i = 0; i < n; ++i) coords[static_cast<std::size_t>(2 * i)] = 256 * i;
    const auto path = folder / std::to_string(b);
    io::write_safetensors(path, {{"features", "F32", {n, 4}, rows.data()}, {"coords", "I64", {n, 2}, coords.data()}},
                          {{"mpp", "0.5"}, {"tile", "256"}, {"step", "256"}});
    entries.push_back({std::to_string(b), "p", "", {path}, {{"target", static_cast<double>(b % 2)}, {"event", 1.0}}});
  }
  return std::make_shared<data::BagSource>(std::move(entries), data::BagOptions{});
}

std::shared_ptr<BagTask> bag_task_of() {
  BagTaskOptions options;
  nn::AggregatorConfig config;
  config.in = 4;
  config.hidden = 8;
  config.attention = 4;
  options.classes = 2;
  options.dropout = 0.1;
  return std::make_shared<BagTask>(nn::create_aggregator(config), options);
}

std::vector<double> train_bags(const std::shared_ptr<BagTask>& task, const std::shared_ptr<data::BagSource>& source, unsigned threads) {
  train::TrainOptions options;
  options.epochs = 80;
  options.lr = 1e-2;
  data::LoaderPlan plan;
  plan.source = source;
  plan.sampler = std::make_shared<const data::Sampler>(source->size(), data::Order::kShuffle, 5, true, 3);
  plan.options = {threads, 2, data::OnError::kRaise, 0, 0};
  std::vector<double> losses;
  train::Trainer(task, plan, options).fit([&](const auto& records) {
    for (const auto& record : records) losses.push_back(record.loss);
    return true;
  });
  return losses;
}

}  // namespace

TEST_CASE("a task over bags learns, and answers in the order of the samples") {
  const testing::TemporaryFolder folder;
  const auto source = bag_source_of(folder, 20);
  const auto task = bag_task_of(), twin = bag_task_of();
  const auto losses = train_bags(task, source, 1);
  CHECK(losses.back() < 0.5 * losses.front());
  CHECK(train_bags(twin, source, 3) == losses);
  task->eval();
  const auto sampler = std::make_shared<const data::Sampler>(20, data::Order::kSequential, 6, false, 0);
  data::Loader loader(source, task->recipe(), sampler, {2, 2, data::OnError::kRaise, 0, 4});
  const auto said = tasks::answers(*task, loader);
  CHECK(at::equal(said.sample_ids, at::arange(20)));
  CHECK(at::equal(said.values.argmax(1), at::arange(20).remainder(2)));
}

TEST_CASE("tasks over bags that cannot be learned are refused") {
  const auto refused = [](const std::function<void(BagTaskOptions&)>& change) {
    BagTaskOptions options;
    options.classes = 2;
    change(options);
    nn::AggregatorConfig config;
    config.in = 4;
    CHECK_THROWS_AS(BagTask(nn::create_aggregator(config), options), c10::ValueError);
  };
  refused([](auto& o) { o.classes = 1; });
  refused([](auto& o) { o.outcome = Outcome::kSurvival; });
  refused([](auto& o) { o.class_weights = {1}; });
  refused([](auto& o) { o.dropout = 1; });
  refused([](auto& o) { o.scale = 0; });
  refused([](auto& o) { o.instance_weight = 1; });
  refused([](auto& o) { o.instance_count = 0; });
}
