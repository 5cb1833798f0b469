#include "catch.h"
#include "core/error.h"
#include "data/joined.h"
#include "methods/mae.h"
#include "small.h"
#include "small_vit.h"
#include "temporary.h"
#include "train/schedule.h"
#include "train/trainer.h"

using namespace sslmed;
using namespace sslmed::train;

namespace {

// Remembers the batches it learned from.
struct Watched : methods::Mae {
  using Mae::Mae;
  methods::Loss loss(const data::Batch& batch, const methods::Step& step) override {
    batches.push_back(batch.number);
    return Mae::loss(batch, step);
  }
  std::vector<std::uint64_t> batches;
};

struct Setup {
  std::shared_ptr<Watched> mae;
  std::unique_ptr<Trainer> trainer;
};

std::shared_ptr<Watched> watched_mae(std::shared_ptr<const data::Recipe> recipe = testing::eeg_recipe()) {
  methods::MaeOptions options{16, 1, 2};
  options.norm_target = false;
  options.seed = 1;
  return std::make_shared<Watched>(std::make_shared<nn::VisionTransformer>(testing::small_vit(), 1), options, std::move(recipe));
}

data::LoaderPlan plan_of(unsigned threads = 2) {
  data::LoaderPlan plan;
  plan.source = std::make_shared<const testing::FakeSource>(20);
  plan.sampler = std::make_shared<const data::Sampler>(20, data::Order::kShuffle, 4, true, 3);
  plan.options = {threads, 2, data::OnError::kRaise, 0, 0};
  return plan;
}

Setup make(TrainOptions options, unsigned threads = 2, double scale = 1) {
  Setup setup;
  setup.mae = watched_mae();
  options.lr = 1e-3 * scale;
  setup.trainer = std::make_unique<Trainer>(setup.mae, plan_of(threads), options);
  return setup;
}

bool same(const methods::Mae& a, const methods::Mae& b) {
  for (const auto& item : a.named_parameters())
    if (!at::equal(item.value(), b.named_parameters()[item.key()])) return false;
  return true;
}

bool same_encoder(const Trainer& a, const Trainer& b) {
  for (const auto& [key, tensor] : a.encoder_weights())
    if (!at::equal(tensor, b.encoder_weights().at(key))) return false;
  return true;
}

// Three epochs of two steps of two batches; the fifth batch of each epoch is left over.
TrainOptions accumulated() {
  TrainOptions options;
  options.epochs = 3;
  options.accumulate = 2;
  options.ema_decay = 0.9;
  options.report_interval = 0;
  return options;
}

std::string checkpoint(const std::string& folder, std::int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "/step-%09d.safetensors", static_cast<int>(step));
  return folder + name;
}

const Report kGoOn = [](const std::vector<Record>&) { return true; };

Report noting(std::vector<Record>& all) {
  return [&all](const std::vector<Record>& records) {
    all.insert(all.end(), records.begin(), records.end());
    return true;
  };
}

}  // namespace

TEST_CASE("stopping and resuming anywhere gives the same bits") {
  auto options = accumulated();
  auto whole = make(options);
  CHECK(whole.trainer->fit(kGoOn));
  CHECK(whole.trainer->step() == 6);
  for (std::int64_t stop = 1; stop < 6; ++stop) {
    const testing::TemporaryFolder folder;
    options.checkpoint_folder = folder / "c";
    auto first = make(options, 1);
    CHECK_FALSE(first.trainer->fit([&](const std::vector<Record>& records) { return records.back().step + 1 < stop; }));
    auto second = make(options, 3);
    second.trainer->resume(checkpoint(options.checkpoint_folder, stop));
    CHECK(second.trainer->step() == stop);
    CHECK(second.trainer->fit(kGoOn));
    CHECK(same(*whole.mae, *second.mae));
    CHECK(same_encoder(*whole.trainer, *second.trainer));
  }
}

TEST_CASE("several calls of fit are one, bit for bit, wherever they meet") {
  const auto options = accumulated();
  auto whole = make(options);
  std::vector<Record> expected;
  CHECK(whole.trainer->fit(noting(expected)));
  REQUIRE(expected.size() == 6);
  CHECK(whole.mae->batches == std::vector<std::uint64_t>{0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13});
  // At the ends of epochs and within them; a call of no step does nothing.
  for (const auto& stops : {std::vector<std::int64_t>{2, 4, 6}, {1, 4, 6}, {3, 3, 5, -1}, {1, 2, 3, 4, 5, 6}}) {
    auto parts = make(options, 1);
    std::vector<Record> records;
    for (const auto until : stops) {
      CHECK(parts.trainer->fit(noting(records), until));
      CHECK(parts.trainer->step() == (until < 0 ? 6 : until));
    }
    CHECK(parts.mae->batches == whole.mae->batches);
    CHECK(same(*whole.mae, *parts.mae));
    CHECK(same_encoder(*whole.trainer, *parts.trainer));
    REQUIRE(records.size() == 6);
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK(records[i].step == static_cast<std::int64_t>(i));
      CHECK(records[i].epoch == expected[i].epoch);
      CHECK(records[i].loss == expected[i].loss);
      CHECK(records[i].lr == expected[i].lr);
      CHECK(records[i].grad_norm == expected[i].grad_norm);
    }
    CHECK_THROWS_WITH(parts.trainer->fit(kGoOn, 3), Catch::Contains("until=3 is before the present step 6"));
    CHECK(parts.trainer->step() == 6);
  }
}

TEST_CASE("each part of a run may be a process of its own") {
  const testing::TemporaryFolder folder;
  auto options = accumulated();
  auto whole = make(options);
  options.checkpoint_folder = folder / "whole";
  auto kept = make(options);
  CHECK(whole.trainer->fit(kGoOn));
  CHECK(kept.trainer->fit(kGoOn));
  options.checkpoint_folder = folder / "parts";
  std::int64_t last = 0;
  for (const std::int64_t until : {1, 4, 6}) {
    auto part = make(options, static_cast<unsigned>(until));
    if (last > 0) part.trainer->resume(checkpoint(options.checkpoint_folder, last));
    CHECK(part.trainer->fit(kGoOn, until));
    REQUIRE(std::filesystem::exists(checkpoint(options.checkpoint_folder, until)));
    last = until;
    if (until < 6) continue;
    CHECK(same(*whole.mae, *part.mae));
    CHECK(same_encoder(*whole.trainer, *part.trainer));
  }
  // Files too: the epochs' losses, which the best one is chosen by, go on where they were.
  for (const auto* name : {"best.safetensors", "step-000000006.safetensors"}) {
    Metadata one, three;
    const auto a = load_tensors(folder / "whole/" + name, &one), b = load_tensors(folder / "parts/" + name, &three);
    for (const auto* key : {"step", "epoch_loss", "best_loss"}) CHECK(one.at(key) == three.at(key));
    for (const auto& [key, tensor] : a) CHECK(at::equal(tensor, b.at(key)));
  }
}

TEST_CASE("a trainer can take its place anywhere in a schedule, with the weights that it has") {
  auto options = accumulated();
  options.warmup_steps = 3;
  auto setup = make(options);
  std::vector<Record> records;
  setup.trainer->seek(4);
  CHECK(setup.trainer->step() == 4);
  CHECK(setup.trainer->fit(noting(records)));
  REQUIRE(records.size() == 2);
  CHECK(records[0].step == 4);
  CHECK(records[0].epoch == 2);
  CHECK(records[0].lr == warmup_cosine(4, 6, 3, 1e-3, 0, 0));
  CHECK(setup.mae->batches == std::vector<std::uint64_t>{10, 11, 12, 13});
  // The same as the second round of somebody else's run: weights from the first, moments of its own.
  auto first = make(options);
  CHECK(first.trainer->fit(kGoOn, 2));
  auto second = make(options);
  {
    const at::NoGradGuard guard;
    for (auto& item : second.mae->named_parameters()) item.value().copy_(first.mae->named_parameters()[item.key()]);
  }
  second.trainer->seek(2);
  CHECK(second.trainer->fit(kGoOn, 4));
  CHECK(second.mae->batches == std::vector<std::uint64_t>{5, 6, 7, 8});
  CHECK(first.trainer->fit(kGoOn, 4));
  CHECK_FALSE(same(*first.mae, *second.mae));  // because AdamW's moments are not those of one run
  // An epoch of which a part alone was seen is not the best one.
  const testing::TemporaryFolder folder;
  auto kept = options;
  kept.checkpoint_folder = folder / "c";
  auto late = make(kept);
  late.trainer->seek(3);
  records.clear();
  CHECK(late.trainer->fit(noting(records), 4));
  CHECK_FALSE(std::filesystem::exists(folder / "c/best.safetensors"));
  CHECK(late.trainer->fit(noting(records)));
  Metadata metadata;
  load_tensors(folder / "c/best.safetensors", &metadata);
  REQUIRE(records.size() == 3);
  CHECK(metadata.at("best_loss") == exact_text((records[1].loss + records[2].loss) / 2));
  setup.trainer->seek(0);
  setup.mae->batches.clear();
  CHECK(setup.trainer->fit(kGoOn, 1));
  CHECK(setup.mae->batches == std::vector<std::uint64_t>{0, 1});
  setup.trainer->seek(6);
  CHECK(setup.trainer->fit(kGoOn));
  CHECK_THROWS_WITH(setup.trainer->seek(-1), Catch::Contains("step=-1 must be within the schedule's 0 to 6"));
  CHECK_THROWS_WITH(setup.trainer->seek(7), Catch::Contains("step=7"));
  CHECK_THROWS_WITH(setup.trainer->fit(kGoOn, 7), Catch::Contains("until=7 must be within the schedule's 6 steps"));
}

TEST_CASE("settings of a loader that a run cannot honour are refused, each by name") {
  const auto refused = [](const auto& change, const std::string& name) {
    auto plan = plan_of();
    change(plan);
    CHECK_THROWS_WITH(Trainer(watched_mae(), plan, {}), Catch::Contains(name));
    CHECK_THROWS_AS(Trainer(watched_mae(), plan, {}), ValueError);
  };
  refused([](data::LoaderPlan& plan) { plan.options.first = 5; }, "start=5 of the loader");
  refused([](data::LoaderPlan& plan) { plan.options.end = 10; }, "epochs of the loader");
  refused([](data::LoaderPlan& plan) { plan.options.rank = 1, plan.options.ranks = 2; }, "rank=1 of ranks=2 of the loader");
  refused([](data::LoaderPlan& plan) { plan.options.ranks = 2; }, "rank=0 of ranks=2 of the loader");
  refused([](data::LoaderPlan& plan) { plan.recipe = testing::eeg_recipe(); }, "recipe of the loader");
  // The objective's own recipe is none beside it; where an objective has none, the loader's is taken.
  auto plan = plan_of();
  const auto mae = watched_mae();
  plan.recipe = mae->recipe();
  CHECK(Trainer(mae, plan, {}).fit(kGoOn));
  const auto bare = watched_mae(nullptr);
  plan.recipe = testing::eeg_recipe();
  CHECK(Trainer(bare, plan, {}).fit(kGoOn));
  CHECK(same(*mae, *bare));
  plan.recipe = nullptr;
  CHECK_THROWS_WITH(Trainer(watched_mae(nullptr), plan, {}).fit(kGoOn), Catch::Contains("recipe is missing"));
  // Threads and what is made ahead are the loader's to say.
  plan = plan_of();
  plan.options.threads = 0;
  CHECK_THROWS_WITH(Trainer(watched_mae(), plan, {}).fit(kGoOn), Catch::Contains("threads=0"));
}

TEST_CASE("options of a run that cannot be are refused, each by name") {
  const auto refused = [](const auto& change, const std::string& name) {
    TrainOptions options;
    change(options);
    CHECK_THROWS_WITH(Trainer(watched_mae(), plan_of(), options), Catch::Contains(name));
    CHECK_THROWS_AS(Trainer(watched_mae(), plan_of(), options), ValueError);
  };
  refused([](TrainOptions& options) { options.epochs = 0; }, "epochs=0");
  refused([](TrainOptions& options) { options.accumulate = 0; }, "accumulate=0");
  refused([](TrainOptions& options) { options.accumulate = 6; }, "accumulate=6 batches a step is more than the 5 of an epoch");
  refused([](TrainOptions& options) { options.warmup_steps = -1; }, "warmup_steps=-1");
  refused([](TrainOptions& options) { options.keep_last = 0; }, "keep_last=0");
  refused([](TrainOptions& options) { options.checkpoint_every = -1; }, "checkpoint_every=-1");
  refused([](TrainOptions& options) { options.monitor_every = -1; }, "monitor_every=-1");
  refused([](TrainOptions& options) { options.lr = 0; }, "lr=0");
  refused([](TrainOptions& options) { options.lr = std::nan(""); }, "lr=nan");
  refused([](TrainOptions& options) { options.start_lr = -1; }, "start_lr=-1");
  refused([](TrainOptions& options) { options.min_lr = -1; }, "min_lr=-1");
  refused([](TrainOptions& options) { options.clip_norm = -1; }, "clip_norm=-1");
  refused([](TrainOptions& options) { options.collapse_std = -1; }, "collapse_std=-1");
  refused([](TrainOptions& options) { options.ema_decay = 1; }, "ema_decay=1");
  refused([](TrainOptions& options) { options.fp64 = options.bf16 = true; }, "fp64=True and bf16=True");
  CHECK_THROWS_WITH(make({}).trainer->save(), Catch::Contains("save() needs a folder"));
}

TEST_CASE("one run may learn from several modalities") {
  auto config = testing::small_vit();
  config.more = {testing::ramp_embedding()};
  methods::MaeOptions options{16, 1, 2};
  const auto signals = std::make_shared<const testing::FakeSource>(12);
  const auto ramps = std::make_shared<const toy::RampSource>(12);
  std::vector<std::int32_t> part_of;
  for (std::int32_t i = 0; i < 24; ++i) part_of.push_back(i % 2);
  const auto recipe = std::make_shared<const data::JoinedRecipe>(
      std::map<std::string, std::shared_ptr<const data::Recipe>>{{"eeg", testing::eeg_recipe()}, {"ramps", testing::ramp_recipe()}});
  const auto run = [&](unsigned threads) {
    const auto mae = std::make_shared<methods::Mae>(std::make_shared<nn::VisionTransformer>(config, 1), options, recipe);
    data::LoaderPlan plan;
    plan.source = std::make_shared<const data::JoinedSource>(std::vector<std::shared_ptr<const data::Source>>{signals, ramps}, part_of);
    plan.sampler = std::make_shared<const data::Sampler>(24, data::Order::kShuffle, 8, true, 3);
    plan.options = {threads, 2, data::OnError::kRaise, 0, 0};
    TrainOptions how;
    how.epochs = 12;
    how.lr = 3e-3;
    std::vector<Record> records;
    CHECK(Trainer(mae, plan, how).fit(noting(records)));
    CHECK(records.back().samples == 8);
    return std::pair(mae, records);
  };
  const auto [mae, records] = run(1);
  const auto [same_mae, same_records] = run(4);
  REQUIRE(records.size() == 36);
  CHECK(records.back().loss < 0.9 * records.front().loss);
  CHECK(same_records.back().loss == records.back().loss);
  CHECK(same(*mae, *same_mae));
}

TEST_CASE("checkpoints rotate, and another configuration is refused") {
  const testing::TemporaryFolder folder;
  TrainOptions options;
  options.epochs = 4;
  options.keep_last = 2;
  options.checkpoint_every = 1;
  options.checkpoint_folder = folder / "c";
  std::filesystem::create_directories(folder / "c");
  folder.write("c/step-000000001.safetensors.tmp-999999999-0", "half");
  auto setup = make(options);
  setup.trainer->fit(kGoOn);
  CHECK_FALSE(std::filesystem::exists(folder / "c/step-000000001.safetensors.tmp-999999999-0"));
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
