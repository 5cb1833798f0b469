#include "catch.h"
#include "core/error.h"
#include "temporary.h"
#include "train/checkpoint.h"

using namespace sslmed;
using namespace sslmed::train;

TEST_CASE("tensors of every dtype come back, strided ones too") {
  const testing::TemporaryFolder folder;
  TensorMap tensors{{"t", at::randn({3, 4}).t()}, {"b", at::randn({2}).to(at::kBFloat16)}, {"e", at::empty({0, 3})}, {"i", at::tensor(5)}};
  save_tensors(folder / "x", tensors, {{"a", "b"}});
  Metadata metadata;
  const auto back = load_tensors(folder / "x", &metadata);
  CHECK(metadata.at("a") == "b");
  for (const auto& [name, tensor] : tensors) {
    CHECK(back.at(name).scalar_type() == tensor.scalar_type());
    CHECK(at::equal(back.at(name), tensor));
  }
  CHECK_THROWS_AS(save_tensors(folder / "y", {{"c", at::zeros({1}, at::kComplexFloat)}}, {}), ValueError);
  CHECK_THROWS_AS(save_tensors(folder / "no/y", tensors, {}), ReadError);
}
