#pragma once
// Images of random contrast from label maps (domain randomization: Billot et al., 2023, SynthSeg; Zalevskyi et al., 2024, fetalsyngen).

#include <array>
#include <cstdint>
#include <vector>

#include "transforms/volume_intensity.h"
#include "transforms/voxel.h"

namespace sslmed::transforms {

// Label 0: of mean 0 in 5 % of images, dark in 25 % and a class like any other in the rest (SynthSeg); always 0; or always a class like any other.
enum class Background { kMixed, kZero, kClass };

struct VolumeContrastOptions {
  std::array<double, 2> mean{25, 225};  // ranges of a class's mean and standard deviation, of 255
  std::array<double, 2> std{5, 25};
  std::array<std::int64_t, 2> subclusters{1, 1};  // how many parts of means of their own a class has
  double subcluster_scale = 20;                   // mm: about how far apart they lie
  Background background = Background::kMixed;
  std::vector<std::array<std::int32_t, 2>> classes;  // (label, class); a label that is not here is a class of its own number
};

// ValueError where an option is out of range.
void check(const VolumeContrastOptions& options);

// What every class looks like is a function of its number and of the key: a part of a label map has the contrast of the whole.
struct VolumeContrastPlan {
  VolumeContrastOptions options;
  NoiseKey key{};
};
VolumeContrastPlan plan_contrast(const VolumeContrastOptions& options, Philox& random);

struct LabelVolume {
  const std::int32_t* labels;  // [X, Y, Z]
  std::array<std::int64_t, 3> shape;
  std::array<double, 3> spacing;  // mm
};

// Gaussian noise about each class's mean, divided by 255 and not below 0. ValueError where labels span more than a million numbers.
void apply_contrast(const VolumeContrastPlan& plan, const LabelVolume& labels, float* into);

// Means and deviations of all parts of all classes, and which of them each label has.
struct ContrastTable {
  std::int32_t lowest = 0;  // label of row 0
  std::vector<ContrastRow> rows;
  std::vector<float> means, stds;
  std::int64_t most_parts = 1;
};
ContrastTable contrast_table(const VolumeContrastPlan& plan, const LabelVolume& labels);

// The smooth random field whose values within 0 and 1 say in which part of its class a voxel lies: normal numbers at nodes `subcluster_scale` apart.
struct ContrastField {
  std::array<std::int64_t, 3> nodes{};
  std::array<double, 3> voxel{};  // how many nodes a voxel is wide
  std::vector<float> values;      // [nodes]
};
ContrastField contrast_field(const VolumeContrastPlan& plan, const LabelVolume& labels);

}  // namespace sslmed::transforms
