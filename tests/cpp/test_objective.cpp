#include "catch.h"
#include "data/patch_recipe.h"
#include "methods/mae.h"

using namespace sslmed;

TEST_CASE("matrices decay, vectors and tokens do not") {
  nn::VitConfig config;
  config.dim = 24, config.depth = 1, config.heads = 2;
  config.patch_size = {8};
  config.positions = nn::Positions::kElectrode;
  methods::Mae mae(
      std::make_shared<nn::VisionTransformer>(config, 1),
      {16, 1, 2, methods::Target::kSignal, 1, true, std::make_shared<const data::PatchRecipe>(data::PatchRecipeOptions{8, data::MaskMode::kRandom, 0.5, 2})},
      1);
  const auto groups = mae.parameter_groups();
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].decay);
  CHECK_FALSE(groups[1].decay);
  CHECK(groups[0].names.size() + groups[1].names.size() == mae.named_parameters().size());
  for (const auto& name : groups[0].names)
    CHECK((name.find("bias") == std::string::npos && name.find("token") == std::string::npos && name.find("norm") == std::string::npos));
}
