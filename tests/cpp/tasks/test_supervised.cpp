#include <cmath>

#include "catch.h"
#include "nn/cnn.h"
#include "small.h"
#include "small_vit.h"
#include "tasks/supervised.h"
#include "temporary.h"
#include "train/encode.h"
#include "train/trainer.h"

using namespace sslmed;
using tasks::Supervised;
using tasks::SupervisedOptions;

namespace {

std::shared_ptr<Supervised> make_task(const SupervisedOptions& options, std::int64_t lora_rank = 0) {
  auto config = testing::small_vit(2);
  config.lora = {lora_rank, 0};
  return std::make_shared<Supervised>(std::make_shared<nn::VisionTransformer>(config, 1), options, testing::eeg_recipe({}));
}

SupervisedOptions parity(double drop_path = 0) {
  SupervisedOptions options;
  options.target = "parity";
  options.classes = 2;
  options.drop_path = drop_path;
  return options;
}

std::unique_ptr<train::Trainer> trainer_of(const std::shared_ptr<Supervised>& task, train::TrainOptions options, unsigned threads) {
  options.lr = 3e-3;
  data::LoaderPlan plan;
  plan.source = std::make_shared<const testing::FakeSource>(20);
  plan.sampler = std::make_shared<const data::Sampler>(20, data::Order::kShuffle, 5, true, 3);
  plan.options = {threads, 2, data::OnError::kRaise, 0, 0};
  return std::make_unique<train::Trainer>(task, plan, options);
}

const train::Report kKeepGoing = [](const std::vector<train::Record>&) { return true; };

}  // namespace

TEST_CASE("a task learns its samples' targets") {
  const auto task = make_task(parity());
  train::TrainOptions options;
  options.epochs = 15;
  std::vector<double> losses;
  CHECK(trainer_of(task, options, 2)->fit([&](const auto& records) {
    for (const auto& record : records) losses.push_back(record.loss);
    return true;
  }));
  CHECK(losses.front() == Approx(std::log(2)).epsilon(0.05));  // the head starts as good as indifferent
  CHECK(losses.back() < 0.3 * losses.front());
  task->eval();
  const auto source = std::make_shared<const testing::FakeSource>(20);
  const auto sampler = std::make_shared<const data::Sampler>(20, data::Order::kSequential, 7, false, 0);
  data::Loader loader(source, task->recipe(), sampler, {2, 2, data::OnError::kRaise, 0, 3});
  const auto answers = train::predict(*task, loader);
  CHECK(answers.values.sizes() == at::IntArrayRef({20, 2}));
  CHECK(at::equal(answers.values.argmax(1), at::arange(20) % 2));
}

TEST_CASE("dropped paths are the same bits for any threads and after stopping") {
  train::TrainOptions options;
  options.epochs = 2;
  options.report_interval = 0;
  const auto whole = make_task(parity(0.5)), plain = make_task(parity());
  CHECK(trainer_of(whole, options, 1)->fit(kKeepGoing));
  CHECK(trainer_of(plain, options, 1)->fit(kKeepGoing));
  CHECK_FALSE(at::equal(whole->parameters().back(), plain->parameters().back()));
  for (const std::int64_t stop : {1, 5}) {
    const testing::TemporaryFolder folder;
    options.checkpoint_folder = folder / "c";
    CHECK_FALSE(trainer_of(make_task(parity(0.5)), options, 3)->fit([&](const auto& records) { return records.back().step + 1 < stop; }));
    const auto task = make_task(parity(0.5));
    const auto second = trainer_of(task, options, 2);
    second->resume(options.checkpoint_folder + "/step-00000000" + std::to_string(stop) + ".safetensors");
    CHECK(second->fit(kKeepGoing));
    for (const auto& item : whole->named_parameters()) CHECK(at::equal(item.value(), task->named_parameters()[item.key()]));
  }
}

TEST_CASE("what is not to be tuned has no gradient and stays") {
  for (const auto tuned : {tasks::Tuned::kNothing, tasks::Tuned::kAdapters}) {
    auto options = parity();
    options.tuned = tuned;
    const auto task = make_task(options, 2), untouched = make_task(options, 2);
    train::TrainOptions run;
    CHECK(trainer_of(task, run, 1)->fit(kKeepGoing));
    for (const auto& item : task->named_parameters()) {
      const bool trained = item.key().rfind("head", 0) == 0 || (tuned == tasks::Tuned::kAdapters && item.key().find("lora_") != std::string::npos);
      CHECK(item.value().requires_grad() == trained);
      if (!trained) CHECK(at::equal(item.value(), untouched->named_parameters()[item.key()]));
    }
  }
}

namespace {

// Whether a ramp falls, from flipped crops of its volume.
std::shared_ptr<Supervised> cnn_task() {
  nn::CnnConfig config;
  config.widths = {4, 8};
  SupervisedOptions options;
  options.target = "falls";
  options.classes = 2;
  data::GridView view;
  view.crop = {6, 6, 6};
  view.p_flip = {0.5, 0.5, 0.5};
  return std::make_shared<Supervised>(std::make_shared<nn::ConvEncoder>(config, 1), options,
                                      std::make_shared<const data::GridRecipe>(std::vector<data::GridView>{view}));
}

std::unique_ptr<train::Trainer> cnn_trainer(const std::shared_ptr<Supervised>& task, train::TrainOptions options, unsigned threads) {
  options.lr = 3e-2;
  options.epochs = 20;
  data::LoaderPlan plan;
  plan.source = std::make_shared<const toy::RampSource>(16);
  plan.sampler = std::make_shared<const data::Sampler>(16, data::Order::kShuffle, 4, true, 3);
  plan.options = {threads, 2, data::OnError::kRaise, 0, 0};
  return std::make_unique<train::Trainer>(task, plan, options);
}

}  // namespace

TEST_CASE("a convolutional encoder learns from dense views in the same loop, and resumes bit for bit") {
  const auto task = cnn_task();
  std::vector<double> losses;
  CHECK(cnn_trainer(task, {}, 2)->fit([&](const auto& records) {
    for (const auto& record : records) losses.push_back(record.loss);
    return true;
  }));
  REQUIRE(losses.size() == 80);
  CHECK(losses.front() == Approx(std::log(2)).epsilon(0.1));
  CHECK(losses.back() < 0.3 * losses.front());
  task->eval();
  const auto source = std::make_shared<const toy::RampSource>(16);
  const auto sampler = std::make_shared<const data::Sampler>(16, data::Order::kSequential, 5, false, 0);
  data::Loader loader(source, task->recipe(), sampler, {2, 2, data::OnError::kRaise, 0, 4});
  CHECK(at::equal(train::predict(*task, loader).values.argmax(1), at::arange(16) % 2));
  // Running statistics are part of the state.
  const testing::TemporaryFolder folder;
  train::TrainOptions options;
  options.checkpoint_folder = folder / "c";
  CHECK(cnn_trainer(cnn_task(), options, 1)->fit(kKeepGoing, 17));
  const auto again = cnn_task();
  const auto second = cnn_trainer(again, options, 3);
  second->resume(folder / "c/step-000000017.safetensors");
  CHECK(second->fit(kKeepGoing));
  for (const auto& item : task->named_parameters()) CHECK(at::equal(item.value(), again->named_parameters()[item.key()]));
  REQUIRE(task->named_buffers().size() == 6);
  for (const auto& item : task->named_buffers()) CHECK(at::equal(item.value(), again->named_buffers()[item.key()]));
}

TEST_CASE("layers of an encoder without blocks share one rate") {
  SupervisedOptions options;
  options.target = "falls", options.classes = 2, options.layer_decay = 0.5;
  const Supervised task(std::make_shared<nn::ConvEncoder>(nn::CnnConfig{}, 1), options);
  for (const auto& group : task.parameter_groups()) {
    const bool head = group.names[0].rfind("head", 0) == 0;
    CHECK(group.lr_scale == Approx(head ? 1 : 0.5));
    for (const auto& name : group.names) CHECK((name.rfind("head", 0) == 0) == head);
  }
}

TEST_CASE("a task's loss of several modalities is the mean over all samples") {
  auto config = testing::small_vit(2);
  config.more = {testing::ramp_embedding()};
  SupervisedOptions options;
  options.target = "age", options.mean = 50, options.scale = 10;
  Supervised task(std::make_shared<nn::VisionTransformer>(config, 1), options);
  const testing::FakeSource signals(3);
  const toy::RampSource ramps(2);
  const auto eeg = testing::eeg_recipe({});
  const auto cubes = testing::ramp_recipe({});
  auto batch = testing::batch_of({{&signals, eeg.get()}}, 3);
  auto volumes = testing::batch_of({{&ramps, cubes.get()}}, 2);
  for (auto& slot : volumes.views.at(0).slots) slot += 3;
  batch.views.push_back(volumes.views[0]);
  batch.sample_ids = {0, 1, 2, 3, 4};
  batch.targets["age"] = at::tensor({40.0, 60.0, 55.0, 20.0, 90.0}, at::kDouble);
  const auto whole = task.loss(batch, {});
  CHECK(whole.weight == 5);
  double sum = 0;
  for (const auto& view : batch.views) {
    data::Batch one = batch;
    one.views = {view};
    const auto part = task.loss(one, {});
    CHECK(part.weight == static_cast<double>(view.slots.size()));
    sum += part.weight * part.total.item<double>();
  }
  CHECK(whole.total.item<double>() == Approx(sum / 5).epsilon(1e-6));
  CHECK_THROWS_AS(task.loss(data::Batch{}, {}), c10::ValueError);
}

TEST_CASE("options of a task that cannot be are refused, each with the name of its parameter") {
  const auto refused = [](const auto& change, const std::string& name) {
    auto options = parity();
    change(options);
    const auto encoder = std::make_shared<nn::VisionTransformer>(testing::small_vit(1, /*class_token=*/false), 1);
    CHECK_THROWS_WITH(Supervised(encoder, options), Catch::Contains(name));
    CHECK_THROWS_AS(Supervised(encoder, options), c10::ValueError);
  };
  using tasks::Tuned;
  refused([](SupervisedOptions& options) { options.classes = 1; }, "classes must be 0 (a regression) or at least 2, got 1");
  refused([](SupervisedOptions& options) { options.class_weights = {1}; }, "class_weights has 1 entries");
  refused([](SupervisedOptions& options) { options.label_smoothing = 1; }, "label_smoothing must be within [0, 1), got 1");
  refused([](SupervisedOptions& options) { options.layer_decay = 0; }, "layer_decay must be within (0, 1], got 0");
  refused([](SupervisedOptions& options) { options.drop_path = 1; }, "drop_path must be within [0, 1), got 1");
  refused([](SupervisedOptions& options) { options.mean = std::nan(""); }, "mean must be finite");
  refused([](SupervisedOptions& options) { options.scale = 0; }, "scale must be positive, got 0");
  refused([](SupervisedOptions& options) { options.groups = 1; }, "groups must be 0 (none) or at least 2, got 1");
  refused([](SupervisedOptions& options) { options.group_step = 0; }, "group_step must be positive");
  refused([](SupervisedOptions& options) { options.domains = 1; }, "domains must be 0 (none) or at least 2, got 1");
  refused([](SupervisedOptions& options) { options.domain_weight = -1; }, "domain_weight must not be negative");
  refused([](SupervisedOptions& options) { options.domains = 2, options.tuned = Tuned::kNothing; }, "domains > 0 (DANN) needs a trainable encoder");
  refused([](SupervisedOptions& options) { options.readout = tasks::Readout::kClassToken; }, "readout='cls' needs an encoder with a class token");
  refused([](SupervisedOptions& options) { options.tuned = Tuned::kAdapters; }, "tuned='adapters' needs an encoder with adapters");
  auto options = parity(0.1);
  CHECK_THROWS_WITH(Supervised(std::make_shared<nn::ConvEncoder>(nn::CnnConfig{}, 1), options),
                    Catch::Contains("drop_path=0.1 needs an encoder with residual"));
}
