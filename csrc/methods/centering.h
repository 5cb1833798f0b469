#pragma once
// What keeps a teacher's answers over prototypes from being the same for all samples: their mean, and its temperature.

#include "methods/objective.h"

namespace sslmed::methods {

// Moves `center` [K] towards the mean of logits [n, K] of all ranks, n of any size: c = m * c + (1 - m) * mean (DINO,
// Caron et al., arXiv 2104.14294). Without any row it stays.
void move_center(at::Tensor& center, const at::Tensor& logits, double momentum, const nn::Comm& comm);

// A temperature that goes in a line from `start` to `end` over the first `share` of a run.
double warm_temperature(double start, double end, double share, const Step& step);

}  // namespace sslmed::methods
