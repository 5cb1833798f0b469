#pragma once
// One-to-one pairs between two lists, from the pairs that are possible at all.

#include <array>
#include <cstdint>
#include <vector>

namespace sslmed::metrics {

struct Edge {
  std::int32_t row = 0;
  std::int32_t column = 0;
  double weight = 0;  // > 0
};

// The column of each row, or -1, so that the weights add up to the most there is. Rows and columns that hang together
// are solved by themselves (Hungarian method with potentials; Kuhn 1955), which makes maps of many small objects fast.
std::vector<std::int32_t> best_pairs(const std::vector<Edge>& edges, std::int32_t rows, std::int32_t columns);

using Point = std::array<double, 3>;

// The same for points at most `radius` apart: first as many pairs as there can be, then the least sum of distances.
std::vector<std::int32_t> near_pairs(const std::vector<Point>& rows, const std::vector<Point>& columns, double radius);

// Detections of one picture against its objects, greedily in the order of the detections (COCO's evaluation).
struct DetectionTask {
  std::vector<std::int32_t> first;           // [detections + 1] where a detection's candidates start
  std::vector<std::int32_t> object;          // of each candidate, ascending within a detection
  std::vector<double> overlap;               // of each candidate, > 0
  std::vector<std::uint8_t> ignored, crowd;  // of each object
};

// For each threshold and detection: the object, or -1. [thresholds * detections], one threshold after the other.
std::vector<std::int32_t> match_detections(const DetectionTask& task, const std::vector<double>& thresholds);

}  // namespace sslmed::metrics
