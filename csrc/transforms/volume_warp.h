#pragma once
// Volumes along a map, in one pass and with one interpolation, whatever the number of its steps.

#include <array>
#include <cstdint>
#include <vector>

#include "transforms/volume_map.h"

namespace sslmed::transforms {

enum class VolumeInterpolation {
  kLinear,   // float volumes
  kNearest,  // the cell in which a place lies
  kLabel,    // label maps: the label with the largest linear weight around a place, the smaller one of equals
};

// What is worked out once for a map. The planes of a result may then be made by several threads.
class VolumeWarp {
 public:
  explicit VolumeWarp(VolumeMap map);

  const VolumeMap& map() const noexcept { return map_; }
  const WarpSteps& steps() const noexcept { return flat_; }
  // Whether every cell's middle is known to lie inside of the source.
  bool covers() const noexcept { return covers_; }
  // source [from…] to planes [first, last) of into [to…], which starts at plane 0. Cells whose middle lies outside of the
  // source get `outside`. T is float, int32 or uint8. ValueError for kLinear of whole numbers, and where an elastic step
  // cannot be undone because it folds space.
  template <class T>
  void planes(const T* source, VolumeInterpolation how, T outside, std::int64_t first, std::int64_t last, T* into) const;
  template <class T>
  void apply(const T* source, VolumeInterpolation how, T outside, T* into) const {
    planes(source, how, outside, 0, map_.to[0], into);
  }

 private:
  enum class Path { kCopy, kSeparable, kRows };
  // An axis of the result's cells on the spline's mesh: the first control point and the weights, [4, cells].
  struct Mesh {
    std::vector<std::int32_t> first;
    std::vector<float> weights;
  };
  struct Row;

  void choose_path();
  void plan_rows();
  template <class T>
  void copy_planes(const T* source, T outside, std::int64_t first, std::int64_t last, T* into) const;
  template <class T>
  void separable_planes(const T* source, VolumeInterpolation how, std::int64_t first, std::int64_t last, T* into) const;
  void places(std::int64_t i, std::int64_t j, Row& row) const;
  void add_displacement(std::int64_t i, std::int64_t j, Row& row) const;
  void follow(const WarpStep& step, Row& row) const;
  template <class T>
  static void value_row(const T* source, VolumeInterpolation how, const CellSteps& up, T outside, const Row& row, T* into);

  VolumeMap map_;
  Path path_ = Path::kRows;
  bool covers_ = false;
  WarpSteps flat_;
  // The first steps, where they have this form: source = matrix · (place + displacement(place)) + offset, and the places
  // are the result's cells on a grid along the axes. `next_` is the first step after them.
  std::array<double, 9> matrix_{};
  std::array<double, 3> offset_{};
  std::array<Mesh, 3> mesh_;     // empty without a displacement
  std::vector<float> controls_;  // of the displacement, times the matrix
  std::array<std::int64_t, 3> points_{};
  std::size_t next_ = 0;
};

}  // namespace sslmed::transforms
