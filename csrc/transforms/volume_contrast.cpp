#include "transforms/volume_contrast.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/voxel.h"

namespace sslmed::transforms {
namespace {

// What a counter's third word says that it numbers; noise has 0 there.
enum Purpose : std::uint32_t { kPartNumbers = 1, kPartCount = 2, kNodes = 3, kBackground = 4 };

constexpr std::int64_t kMostLabels = 1 << 20;  // between the lowest and the highest

std::array<double, 2> two_uniforms(NoiseKey key, std::uint32_t a, std::uint32_t b, Purpose purpose) {
  const auto words = philox4x32({a, b, purpose, 0}, key);
  return {words[0] / 4294967296.0, words[1] / 4294967296.0};
}

void check_contrast_range(const std::array<double, 2>& range, const char* name) {
  std::ostringstream text;
  text << name << "=(" << range[0] << ", " << range[1] << ") must be 0 <= low <= high, finite";
  if (!(range[0] >= 0 && range[0] <= range[1] && std::isfinite(range[1]))) throw ValueError(text.str());
}

// Ranges of mean and standard deviation of the background in this image.
std::array<std::array<double, 2>, 2> background_ranges(const VolumeContrastPlan& plan) {
  const auto& options = plan.options;
  const std::array<std::array<double, 2>, 2> like_others{options.mean, options.std}, zero{}, dark{{{0, 15}, {0, 5}}};
  if (options.background == Background::kClass) return like_others;
  if (options.background == Background::kZero) return zero;
  const double share = two_uniforms(plan.key, 0, 0, kBackground)[0];
  return share < 0.05 ? zero : share < 0.3 ? dark : like_others;
}

SSLMED_CLONES void label_extremes(const std::int32_t* labels, std::int64_t n, std::int32_t* low, std::int32_t* high) {
  std::int32_t least = labels[0], most = labels[0];
  for (std::int64_t i = 0; i < n; ++i) {
    least = std::min(least, labels[i]);
    most = std::max(most, labels[i]);
  }
  *low = least;
  *high = most;
}

// One row along z: `field` may be null, where classes have one part each. Arithmetic and look-ups in loops of their own, so that both are vectors.
SSLMED_CLONES void contrast_line(const ContrastTable& table, const std::int32_t* labels, const float* field, const float* normals, std::int64_t n,
                                 std::int32_t* entries, float* into) {
  const ContrastRow* rows = table.rows.data();
  const float *means = table.means.data(), *stds = table.stds.data();
  if (field == nullptr) {
    for (std::int64_t z = 0; z < n; ++z) entries[z] = rows[labels[z] - table.lowest].first;
  } else {
    for (std::int64_t z = 0; z < n; ++z) {
      const ContrastRow row = rows[labels[z] - table.lowest];
      entries[z] = row.first + contrast_part(field[z], row.parts);
    }
  }
  for (std::int64_t z = 0; z < n; ++z) into[z] = contrast_value(means[entries[z]], stds[entries[z]], normals[z]);
}

// The field along one row of voxels.
class FieldRow {
 public:
  FieldRow(const ContrastField& field, std::int64_t nz)
      : field_(field), nodes_(static_cast<std::size_t>(field.nodes[2])), values_(static_cast<std::size_t>(nz)) {
    for (std::int64_t z = 0; z < nz; ++z) places_.push_back(field_place(z, field.voxel[2]));
  }

  const float* at(std::int64_t x, std::int64_t y) {
    const auto px = field_place(x, field_.voxel[0]), py = field_place(y, field_.voxel[1]);
    const auto row = field_.nodes[2], plane = field_.nodes[1] * row;
    const float* corner = field_.values.data() + px.cell * plane + py.cell * row;
    for (std::size_t k = 0; k < nodes_.size(); ++k) {
      const float near = corner[k] + py.share * (corner[k + static_cast<std::size_t>(row)] - corner[k]);
      const float* next = corner + plane;
      const float far = next[k] + py.share * (next[k + static_cast<std::size_t>(row)] - next[k]);
      nodes_[k] = near + px.share * (far - near);
    }
    for (std::size_t z = 0; z < values_.size(); ++z) {
      const float* node = nodes_.data() + places_[z].cell;
      values_[z] = node[0] + places_[z].share * (node[1] - node[0]);
    }
    return values_.data();
  }

 private:
  const ContrastField& field_;
  std::vector<float> nodes_, values_;
  std::vector<FieldPlace> places_;
};

}  // namespace

void check(const VolumeContrastOptions& options) {
  check_contrast_range(options.mean, "mean");
  check_contrast_range(options.std, "std");
  const auto [fewest, most] = options.subclusters;
  std::ostringstream text;
  text << "subclusters=(" << fewest << ", " << most << ") must be 1 <= low <= high <= 64";
  if (!(fewest >= 1 && fewest <= most && most <= 64)) throw ValueError(text.str());
  require(options.subcluster_scale > 0 && std::isfinite(options.subcluster_scale), "subcluster_scale", options.subcluster_scale, "mm must be above 0");
}

VolumeContrastPlan plan_contrast(const VolumeContrastOptions& options, Philox& random) {
  check(options);
  return {options, {random.next_u32(), random.next_u32()}};
}

ContrastTable contrast_table(const VolumeContrastPlan& plan, const LabelVolume& labels) {
  const auto n = labels.shape[0] * labels.shape[1] * labels.shape[2];
  ContrastTable table;
  if (n == 0) return table;
  std::int32_t highest = 0;
  label_extremes(labels.labels, n, &table.lowest, &highest);
  const auto span = std::int64_t{highest} - table.lowest + 1;
  require(span <= kMostLabels, "labels", span, "numbers between the lowest and the highest label must be at most 1,048,576");
  std::map<std::int32_t, std::int32_t> class_of;
  for (const auto& [label, its_class] : plan.options.classes) class_of[label] = its_class;
  std::map<std::int32_t, ContrastRow> known;  // by class
  const auto background = background_ranges(plan);
  const auto& options = plan.options;
  std::vector<char> present(static_cast<std::size_t>(span), 0);
  for (std::int64_t i = 0; i < n; ++i) present[static_cast<std::size_t>(labels.labels[i] - table.lowest)] = 1;
  table.rows.assign(static_cast<std::size_t>(span), {0, 1});
  for (std::int64_t i = 0; i < span; ++i) {
    if (present[static_cast<std::size_t>(i)] == 0) continue;
    const auto label = static_cast<std::int32_t>(table.lowest + i);
    const auto found = class_of.find(label);
    const std::int32_t its_class = found == class_of.end() ? label : found->second;
    if (known.count(its_class) == 0) {
      const auto number = static_cast<std::uint32_t>(its_class);
      const double share = two_uniforms(plan.key, number, 0, kPartCount)[0];
      // The background is one part: it has nothing to be divided by.
      const auto parts =
          its_class == 0 ? 1
                         : options.subclusters[0] + static_cast<std::int64_t>(share * static_cast<double>(options.subclusters[1] - options.subclusters[0] + 1));
      known[its_class] = {static_cast<std::int32_t>(table.means.size()), static_cast<std::int32_t>(parts)};
      table.most_parts = std::max(table.most_parts, parts);
      for (std::int64_t part = 0; part < parts; ++part) {
        const auto [a, b] = two_uniforms(plan.key, number, static_cast<std::uint32_t>(part), kPartNumbers);
        const auto& mean = its_class == 0 ? background[0] : options.mean;
        const auto& std = its_class == 0 ? background[1] : options.std;
        table.means.push_back(static_cast<float>((mean[0] + (mean[1] - mean[0]) * a) / 255));
        table.stds.push_back(static_cast<float>((std[0] + (std[1] - std[0]) * b) / 255));
      }
    }
    table.rows[static_cast<std::size_t>(i)] = known[its_class];
  }
  return table;
}

ContrastField contrast_field(const VolumeContrastPlan& plan, const LabelVolume& labels) {
  ContrastField field;
  std::int64_t n = 1;
  for (std::size_t a = 0; a < 3; ++a) {
    field.voxel[a] = std::min(1.0, labels.spacing[a] / plan.options.subcluster_scale);
    field.nodes[a] = static_cast<std::int64_t>(static_cast<double>(labels.shape[a]) * field.voxel[a]) + 2;
    n *= field.nodes[a];
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto words = philox4x32({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), kNodes, 0}, plan.key);
    field.values.push_back(normals_of(words[0], words[1]).first);
  }
  return field;
}

void apply_contrast(const VolumeContrastPlan& plan, const LabelVolume& labels, float* into) {
  const auto [nx, ny, nz] = labels.shape;
  const auto table = contrast_table(plan, labels);
  normal_numbers(plan.key, 0, nx * ny * nz, into);
  const bool divided = table.most_parts > 1;
  const auto field = divided ? contrast_field(plan, labels) : ContrastField{};
  FieldRow row(field, divided ? nz : 0);
  std::vector<std::int32_t> entries(static_cast<std::size_t>(nz));
  const std::int32_t* from = labels.labels;
  for (std::int64_t x = 0; x < nx; ++x)
    for (std::int64_t y = 0; y < ny; ++y, from += nz, into += nz) contrast_line(table, from, divided ? row.at(x, y) : nullptr, into, nz, entries.data(), into);
}

}  // namespace sslmed::transforms
