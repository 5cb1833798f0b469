#pragma once
// Losses of detectors, sample by sample.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sslmed::tasks {

// The focal loss whose negative terms count less near a center (CornerNet, arXiv 1808.01244; CenterNet, arXiv 1904.07850): logits and heat [B, C, cells…];
// heat is 1 in the cells of centers. Returns [B] sums over cells.
at::Tensor heat_focal(const at::Tensor& logits, const at::Tensor& heat, double alpha = 2, double beta = 4);

struct StarLosses {
  at::Tensor probability;  // [B] binary cross-entropy, a mean over known cells
  at::Tensor distances;    // [B] mean absolute error over the rays, weighted by the probability; outside of objects `background` times the distances
  at::Tensor classes;      // [B] cross-entropy, a mean over known cells; undefined without classes
};

// StarDist's (arXiv 1806.03535, and its code): object [B, cells…] logits, distances [B, rays, cells…] in cells, classes [B, K + 1, cells…] logits or
// undefined; targets as tasks::StarTargets, stacked. Cells of class -1 do not count.
StarLosses star_losses(const at::Tensor& object, const at::Tensor& distances, const at::Tensor& classes, const at::Tensor& true_probability,
                       const at::Tensor& true_distances, const at::Tensor& true_classes, double background);

}  // namespace sslmed::tasks
