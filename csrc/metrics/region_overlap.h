#pragma once
// The curve behind AUPRO: the true positive rate of each anomalous region against the false positive rate.

#include <cstdint>
#include <vector>

namespace sslmed::metrics {

struct RegionCurve {
  std::vector<double> fpr, tpr;  // means over the regions; empty without regions, or without a cell outside of them
};

// As anomalib's AUPRO with exact thresholds. A region's own curve has the cells of the region and the background alone,
// and goes up to `limit`; it is resampled, by the number of its point, to as many points as the curve of all cells has
// there. scores: [cells], higher is more anomalous, finite. regions: [cells], 1 … n, background 0.
RegionCurve region_curve(const double* scores, const std::int32_t* regions, std::int64_t cells, double limit);

}  // namespace sslmed::metrics
