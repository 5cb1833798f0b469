#include <ATen/Functions.h>

#include <cmath>
#include <vector>

#include "catch.h"
#include "nn/cnn.h"
#include "tasks/detect.h"
#include "tasks/detect_objects.h"
#include "tasks/detect_targets.h"

using namespace sslmed;
using tasks::Detect;
using tasks::Detected;
using tasks::DetectOptions;

namespace {

std::shared_ptr<nn::Encoder> small_cnn(std::int64_t rank) {
  nn::DenseShape shape;
  shape.rank = rank;
  shape.in_chans = 1;
  return std::make_shared<nn::ConvEncoder>(shape, std::vector<std::int64_t>{4, 8}, 1);
}

// Two views of 8 cells along each axis, with one object and with none.
data::Batch two_views(std::int64_t rank, const at::Tensor& object) {
  data::ViewBatch view;
  std::vector<std::int64_t> shape{2, 1};
  shape.insert(shape.end(), static_cast<std::size_t>(rank), 8);
  view.content = data::StackedDense{"toy", at::arange(2 * static_cast<std::int64_t>(std::pow(8, rank)), at::kFloat).remainder(7).view(shape), {}};
  view.slots = {0, 1};
  view.targets["objects"] = {object, at::empty({0, object.size(1)})};
  data::Batch batch;
  batch.sample_ids = {0, 1};
  batch.views.push_back(std::move(view));
  return batch;
}

}  // namespace

TEST_CASE("boxes of volumes are learned and found") {
  DetectOptions options;
  options.kind = Detected::kBoxes;
  options.decoder = "linear";
  options.features = 4;
  options.scale = 3;
  const auto task = std::make_shared<Detect>(small_cnn(3), options);
  CHECK(task->channels() == 7);
  const auto batch = two_views(3, at::tensor(std::vector<float>{1, 2, 3, 5, 6, 7, 0}, at::kFloat).view({1, 7}));
  const auto loss = task->loss(batch, {});
  CHECK(loss.weight == 2);  // an object, and a view without one
  CHECK(loss.parts.size() == 3);
  loss.total.backward();
  for (const auto& parameter : task->parameters()) CHECK(parameter.grad().defined());
  auto maps = at::zeros({1, 7, 8, 8, 8});
  maps[0][0][3][4][5] = 0.9;
  maps[0].slice(0, 1, 4).fill_(0.5);
  maps[0].slice(0, 4).fill_(4);
  tasks::ObjectOptions how;
  how.kind = Detected::kBoxes;
  const auto found = tasks::objects_in(maps[0], how);
  REQUIRE(found.size() == 1);
  CHECK(found.places == std::vector<double>{3.5, 4.5, 5.5});
  CHECK(found.shapes == std::vector<double>{4, 4, 4});
}

TEST_CASE("a batch without objects still teaches that there are none") {
  DetectOptions options;
  options.decoder = "linear";
  options.features = 4;
  const auto task = std::make_shared<Detect>(small_cnn(2), options);
  const auto loss = task->loss(two_views(2, at::empty({0, 3})), {});
  CHECK(loss.weight == 2);
  CHECK(loss.total.item<double>() > 0);
}
