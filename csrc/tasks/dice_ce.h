#pragma once
// Dice and cross-entropy over label maps (Milletari et al., arXiv 1606.04797; together as nnU-Net has them, arXiv 1809.10486).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sslmed::tasks {

// Defaults are those of MONAI's DiceCELoss with softmax.
struct DiceCeOptions {
  bool include_background = true;             // whether class 0 counts in Dice
  bool squared = false;                       // squares of the probabilities in Dice's denominator
  bool batch = false;                         // Dice over all samples of a batch together, instead of each by itself
  double smooth_nr = 1e-5, smooth_dr = 1e-5;  // added to Dice's numerator and denominator
  double dice_weight = 1, ce_weight = 1;
  double label_smoothing = 0;         // of the cross-entropy
  std::vector<double> class_weights;  // [classes] in both (not in a Dice of one class); empty: all alike
  std::int64_t ignore = -1;           // a label whose cells count in neither
};

// ValueError that names the option.
void check(const DiceCeOptions& options, std::int64_t classes);

// What both losses are made of, for each sample.
struct DiceCeSums {
  at::Tensor overlap, said, truth;  // [B, K] probability where the class is, probability in all, cells of the class
  at::Tensor entropy, weight;       // [B] sum of the weighted cross-entropy, and of the weights
  at::Tensor known;                 // [B] labeled cells
};

// logits [B, K, spatial…], labels [B, spatial…] whole numbers from 0 to K - 1, or `ignore`. ValueError for others, and for shapes that differ.
DiceCeSums dice_ce_sums(const at::Tensor& logits, const at::Tensor& labels, const DiceCeOptions& options);
// [B] Dice loss of sums [B, K], a mean over the classes.
at::Tensor dice_loss(const at::Tensor& overlap, const at::Tensor& said, const at::Tensor& truth, const DiceCeOptions& options);
// The scalar that MONAI's DiceCELoss gives: Dice is a mean over samples and classes, the cross-entropy one over all cells.
at::Tensor dice_ce(const at::Tensor& logits, const at::Tensor& labels, const DiceCeOptions& options);

}  // namespace sslmed::tasks
