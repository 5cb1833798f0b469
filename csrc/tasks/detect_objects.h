#pragma once
// Objects out of a detector's maps, window by window over arrays of any size.

#include <functional>
#include <vector>

#include "metrics/stars.h"
#include "nn/sliding_window.h"
#include "tasks/detect.h"

namespace sslmed::tasks {

struct ObjectOptions {
  Detected kind = Detected::kPoints;
  std::int64_t classes = 1, stride = 1, rays = 32;  // as in DetectOptions
  double threshold = 0.3;                           // objects of a score at most this are left out
  double distance = 6;                              // kPoints: of two points nearer than this the worse one is dropped
  double overlap = 0.5;                             // kBoxes (IoU), kStars: of two objects that overlap by more the worse one is dropped
  metrics::StarOverlap star_overlap = metrics::StarOverlap::kSmaller;
  bool per_class = false;  // only objects of one class drop each other
};

struct Objects {
  std::int64_t rank = 2, numbers = 0;
  std::vector<double> places;         // [n, rank] centers in cells: cell i covers [i, i + 1)
  std::vector<double> scores;         // [n], best first
  std::vector<std::int32_t> classes;  // [n]
  std::vector<double> shapes;         // [n, numbers]: nothing of points, [rank] sizes of boxes, [rays] distances of stars

  std::size_t size() const { return scores.size(); }
};

// maps [channels, cells…] as Detect::forward gives them, of one sample. Points and boxes are the cells whose score is the largest one around them, stars all
// cells above the threshold; none are suppressed yet.
Objects objects_in(const at::Tensor& maps, const ObjectOptions& options);
// Those that no better one is too near to.
Objects suppressed(const Objects& objects, const ObjectOptions& options);

struct DetectWindows {
  std::vector<std::int64_t> roi;      // as in nn::SlidingWindowOptions
  std::vector<double> overlap{0.25};  // of neighboring windows
  std::int64_t batch = 1;
  double fill = 0;  // of what windows show beyond a smaller array
};

// image [C, spatial…]. Of each window those objects are taken whose center lies in its core (neighboring cores meet in the middle of what their windows share,
// and overlap by two cells of the maps, so that no object falls between them), and what was found twice is suppressed. Memory is that of one call's windows.
Objects detect_objects(const at::Tensor& image, const nn::WindowPredictor& predictor, const DetectWindows& windows, const ObjectOptions& options,
                       const std::function<void()>& between = {});

}  // namespace sslmed::tasks
