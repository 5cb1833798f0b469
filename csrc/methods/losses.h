#pragma once
// Losses of self-supervised methods: differentiable functions of tensors. Half precision is computed, and returned, in
// float, under autocast too. With `comm`, rows of the other ranks take part, with gradients: the sum over ranks of each
// rank's gradients is that of one process. A rank without rows takes part with a loss of zero. Wrong shapes, empty
// batches, and temperatures that are not positive are a ValueError that names the parameter.

#include <ATen/core/Tensor.h>

#include "nn/comm.h"

namespace sslmed::methods {

// Contrastive: two views a, b [B, D] of the same samples, normalized here.

// NT-Xent of SimCLR (Chen et al., arXiv 2002.05709): each of the 2B rows against the 2B - 1 others, its other view
// being the right one; the mean cross-entropy over this rank's rows. Never holds the matrix of similarities
// (ops/info_nce.h).
at::Tensor nt_xent(const at::Tensor& a, const at::Tensor& b, double temperature, const nn::Comm& comm = nn::Comm::alone());
// InfoNCE of MoCo v3 (Chen et al., arXiv 2104.02057): queries q [B, D] against keys k [B, D] of all ranks, k[i] being
// the right one; the mean times 2 * temperature, as in the paper's code.
at::Tensor info_nce(const at::Tensor& q, const at::Tensor& k, double temperature, const nn::Comm& comm = nn::Comm::alone());
// NT-Xent with soft targets (y-Aware, Dufumier et al., arXiv 2106.08808): w = exp(-|y_i - y_j|^2 / (2 sigma^2)) of
// metadata [B] or [B, m], without the row itself, every row normalized to a sum of one. A sample with a NaN among its
// metadata has a weight for its other view alone.
at::Tensor y_aware(const at::Tensor& a, const at::Tensor& b, const at::Tensor& metadata, double sigma, double temperature,
                   const nn::Comm& comm = nn::Comm::alone());
// The same targets, but others enter the denominator as exp(s (1 - w)): L^exp (Barbano et al., arXiv 2211.08326).
at::Tensor l_exp(const at::Tensor& a, const at::Tensor& b, const at::Tensor& metadata, double sigma, double temperature,
                 const nn::Comm& comm = nn::Comm::alone());
// Mean of 2 - 2 cos over rows p, z [B, D] (BYOL, Grill et al., arXiv 2006.07733): one direction, nothing detached.
at::Tensor byol(const at::Tensor& p, const at::Tensor& z);

// Spread and statistics of rows.

// -mean log of each row's distance to its nearest neighbor on the sphere (KoLeo, Sablayrolles et al., arXiv
// 1806.03198), x [B, D].
at::Tensor koleo(const at::Tensor& x, const nn::Comm& comm = nn::Comm::alone());
// Mean log mean exp(kappa cos) over the other rows (Wang and Isola, arXiv 2005.10242), x [B, D], B >= 2: a collapsed
// batch costs kappa.
at::Tensor uniformity(const at::Tensor& x, double kappa = 5, const nn::Comm& comm = nn::Comm::alone());

struct VicregWeights {
  double invariance = 25, variance = 25, covariance = 1;
};
// VICReg (Bardes et al., arXiv 2105.04906) of a, b [B, D], over all ranks' rows, B >= 2 of them.
at::Tensor vicreg(const at::Tensor& a, const at::Tensor& b, const VicregWeights& weights = {}, const nn::Comm& comm = nn::Comm::alone());
// Barlow Twins (Zbontar et al., arXiv 2103.03230) of a, b [B, D], over all ranks' rows, B >= 2 of them.
at::Tensor barlow_twins(const at::Tensor& a, const at::Tensor& b, double off_diagonal = 5e-3, const nn::Comm& comm = nn::Comm::alone());

// Distillation: K prototypes.

// DINO (Caron et al., arXiv 2104.14294). student [V, B, K]; teacher [2, B, K] (detached here), softmax((teacher -
// center) / teacher_temp), center [K]. The first student views are the teacher's; equal indices are not paired; the
// mean over pairs and batch.
at::Tensor dino(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& center, double student_temp, double teacher_temp);
// The same from probabilities [G, B, K], as sinkhorn() gives them.
at::Tensor dino_pairs(const at::Tensor& student, const at::Tensor& teacher, double student_temp);
// Sum of weights [M] times the cross-entropy of masked patches, student [M, K] logits, teacher [M, K] probabilities
// (iBOT, Zhou et al., arXiv 2111.07832). iBOT and DINOv2 weigh a patch by 1 / (masked patches of its image * images).
at::Tensor ibot(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights, double student_temp);
// Teacher probabilities [B, K] from logits [B, K] by Sinkhorn-Knopp (SwAV, arXiv 2006.09882, as in DINOv2): exp(logits
// / temperature), then prototypes to 1 / K and samples to 1 / B in turn, over the samples of all ranks. In float at
// least, without gradients.
at::Tensor sinkhorn(const at::Tensor& logits, double temperature, std::int64_t iterations = 3, const nn::Comm& comm = nn::Comm::alone());
// Gram anchoring (DINOv3, arXiv 2508.10104): mean squared difference of the cosines between patches, student, teacher
// [B, N, D] (teacher detached here). clip_negatives: cosines that are negative in the teacher are zero there, and in
// the student where they are negative in both.
at::Tensor gram(const at::Tensor& student, const at::Tensor& teacher, bool clip_negatives = false);

}  // namespace sslmed::methods
