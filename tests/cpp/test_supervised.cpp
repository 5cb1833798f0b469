#include <cmath>

#include "catch.h"
#include "data/patch_recipe.h"
#include "fake_source.h"
#include "methods/supervised.h"
#include "nn/vit.h"
#include "temporary.h"
#include "train/encode.h"
#include "train/trainer.h"

using namespace sslmed;
using methods::Supervised;
using methods::SupervisedOptions;

namespace {

std::shared_ptr<Supervised> make_task(const SupervisedOptions& options, std::int64_t lora_rank = 0) {
  nn::VitConfig config;
  config.dim = 24, config.depth = 2, config.heads = 2;
  config.patch_size = {8};
  config.positions = nn::Positions::kElectrode;
  config.lora = {lora_rank, 0};
  return std::make_shared<Supervised>(std::make_shared<nn::VisionTransformer>(config, 1), options);
}

SupervisedOptions parity(double drop_path = 0) {
  SupervisedOptions options;
  options.target = "parity";
  options.classes = 2;
  options.drop_path = drop_path;
  options.recipe = std::make_shared<const data::PatchRecipe>(data::PatchRecipeOptions{8, data::MaskMode::kNone, 0, 1});
  return options;
}

std::unique_ptr<train::Trainer> trainer_of(const std::shared_ptr<Supervised>& task, train::TrainOptions options, unsigned threads) {
  options.lr = 3e-3;
  return std::make_unique<train::Trainer>(task, std::make_shared<const testing::FakeSource>(20),
                                          std::make_shared<const data::Sampler>(20, data::Order::kShuffle, 5, true, 3),
                                          data::LoaderOptions{threads, 2, data::OnError::kRaise, 0, 0}, options);
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
  for (const auto tuned : {methods::Tuned::kNothing, methods::Tuned::kAdapters}) {
    auto options = parity();
    options.tuned = tuned;
    const auto task = make_task(options, 2), untouched = make_task(options, 2);
    train::TrainOptions run;
    CHECK(trainer_of(task, run, 1)->fit(kKeepGoing));
    for (const auto& item : task->named_parameters()) {
      const bool trained = item.key().rfind("head", 0) == 0 || (tuned == methods::Tuned::kAdapters && item.key().find("lora_") != std::string::npos);
      CHECK(item.value().requires_grad() == trained);
      if (!trained) CHECK(at::equal(item.value(), untouched->named_parameters()[item.key()]));
    }
  }
}
