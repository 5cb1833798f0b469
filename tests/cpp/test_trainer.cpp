#include "catch.h"
#include "core/error.h"
#include "data/patch_recipe.h"
#include "fake_source.h"
#include "methods/mae.h"
#include "temporary.h"
#include "train/trainer.h"

using namespace sslmed;
using namespace sslmed::train;

namespace {

struct Setup {
  std::shared_ptr<methods::Mae> mae;
  std::unique_ptr<Trainer> trainer;
};

Setup make(TrainOptions options, unsigned threads = 2, double scale = 1) {
  nn::VitConfig config;
  config.dim = 24, config.depth = 1, config.heads = 2;
  config.patch_size = {8};
  config.positions = nn::Positions::kElectrode;
  Setup setup;
  setup.mae = std::make_shared<methods::Mae>(
      std::make_shared<nn::VisionTransformer>(config, 1),
      methods::MaeOptions{16, 1, 2, methods::Target::kSignal, 1, false,
                          std::make_shared<const data::PatchRecipe>(data::PatchRecipeOptions{8, data::MaskMode::kRandom, 0.5, 2})},
      1);
  options.lr = 1e-3 * scale;
  setup.trainer = std::make_unique<Trainer>(setup.mae, std::make_shared<const testing::FakeSource>(20),
                                            std::make_shared<const data::Sampler>(20, data::Order::kShuffle, 4, true, 3),
                                            data::LoaderOptions{threads, 2, data::OnError::kRaise, 0, 0}, options);
  return setup;
}

bool same(const methods::Mae& a, const methods::Mae& b) {
  for (const auto& item : a.named_parameters())
    if (!at::equal(item.value(), b.named_parameters()[item.key()])) return false;
  return true;
}

const Report kGoOn = [](const std::vector<Record>&) { return true; };

}  // namespace

TEST_CASE("stopping and resuming anywhere gives the same bits") {
  TrainOptions options;
  options.epochs = 3;
  options.accumulate = 2;
  options.ema_decay = 0.9;
  options.report_interval = 0;
  auto whole = make(options);
  CHECK(whole.trainer->fit(kGoOn));
  CHECK(whole.trainer->step() == 6);
  for (std::int64_t stop = 1; stop < 6; ++stop) {
    const testing::TemporaryFolder folder;
    options.checkpoint_folder = folder / "c";
    auto first = make(options, 1);
    CHECK_FALSE(first.trainer->fit([&](const std::vector<Record>& records) { return records.back().step + 1 < stop; }));
    auto second = make(options, 3);
    char name[40];
    std::snprintf(name, sizeof name, "/step-%09d.safetensors", static_cast<int>(stop));
    second.trainer->resume(options.checkpoint_folder + name);
    CHECK(second.trainer->step() == stop);
    CHECK(second.trainer->fit(kGoOn));
    CHECK(same(*whole.mae, *second.mae));
    for (const auto& [key, tensor] : whole.trainer->encoder_weights()) CHECK(at::equal(tensor, second.trainer->encoder_weights().at(key)));
  }
}

TEST_CASE("checkpoints rotate, and another configuration is refused") {
  const testing::TemporaryFolder folder;
  TrainOptions options;
  options.epochs = 4;
  options.keep_last = 2;
  options.checkpoint_every = 1;
  options.checkpoint_folder = folder / "c";
  std::filesystem::create_directories(folder / "c");
  folder.write("c/step-000000001.safetensors.tmp-1-0", "half");
  auto setup = make(options);
  setup.trainer->fit(kGoOn);
  CHECK_FALSE(std::filesystem::exists(folder / "c/step-000000001.safetensors.tmp-1-0"));
  int steps = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "c")) steps += entry.path().filename().string().rfind("step-", 0) == 0;
  CHECK(steps == 2);
  CHECK(std::filesystem::exists(folder / "c/best.safetensors"));
  options.config = "other";
  CHECK_THROWS_AS(make(options).trainer->resume(folder / "c/step-000000020.safetensors"), ValueError);
  CHECK_THROWS_AS(make(options).trainer->resume(folder.write("x", "short")), FormatError);
}

TEST_CASE("a loss that is not finite stops with the step and the samples") {
  TrainOptions options;
  options.epochs = 50;
  auto setup = make(options, 2, 1e20);
  CHECK_THROWS_AS(setup.trainer->fit(kGoOn), NonFiniteError);
  CHECK_THROWS_WITH(make(options, 2, 1e20).trainer->fit(kGoOn), Catch::Contains("step") && Catch::Contains("file"));
}

TEST_CASE("a report that throws is passed on, after a checkpoint") {
  const testing::TemporaryFolder folder;
  TrainOptions options;
  options.report_interval = 0;
  options.checkpoint_folder = folder / "c";
  CHECK_THROWS_WITH(make(options).trainer->fit([](const std::vector<Record>&) -> bool { throw std::runtime_error("mine"); }), "mine");
  CHECK(std::filesystem::exists(folder / "c/step-000000001.safetensors"));
  options.epochs = 0;
  CHECK_THROWS_AS(make(options), ValueError);
}
