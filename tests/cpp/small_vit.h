#pragma once
// The smallest encoders that still have every part: for tests of what is built on them.
#include "nn/vit.h"

namespace sslmed::testing {

// Patches of 8 samples of FakeSource's channels.
inline nn::EmbeddingConfig eeg_embedding() {
  nn::EmbeddingConfig config;
  config.modality = "eeg";
  config.patch_size = {8};
  config.positions = nn::Positions::kCoordinates;
  config.radius = 95;
  return config;
}

// Patches of 4³ cells of RampSource's volumes of 8³.
inline nn::EmbeddingConfig ramp_embedding() {
  nn::EmbeddingConfig config;
  config.modality = "ramps";
  config.patch_size = {4, 4, 4};
  config.img_size = {8, 8, 8};
  config.positions = nn::Positions::kLearned;
  return config;
}

inline nn::VitConfig small_vit(std::int64_t depth = 1, bool class_token = true) {
  nn::VitConfig config;
  config.dim = 24, config.depth = depth, config.heads = 2, config.class_token = class_token;
  config.embedding = eeg_embedding();
  return config;
}

}  // namespace sslmed::testing
