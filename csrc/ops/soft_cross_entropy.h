#pragma once
// Cross-entropy of logits with the probabilities of others, for pairs of views: what a student learns from a teacher over many prototypes (DINO, Caron et
// al., arXiv 2104.14294; iBOT, Zhou et al., arXiv 2111.07832). No tensor of log-probabilities is made.

#include <ATen/core/Tensor.h>

#include <tuple>

namespace sslmed::ops {

// logits [V, R, K], floating point; targets [G, R, K], non-negative, of one dtype with pairs [V, G]: float, or double where the logits are double. Returns
// losses [V, R], in which row (v, r) is the sum over g of pairs[v, g] times -sum_k targets[g, r, k] log softmax(logits[v, r] / temperature)[k]; and the
// log-sum-exp [V, R] and the weight of targets [V, R] that the backward pass needs. Only logits have gradients. Half precision accumulates in float.
// ValueError on mismatched or empty shapes, and a temperature that is not positive.
std::tuple<at::Tensor, at::Tensor, at::Tensor> soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                                                  double temperature);

// The gradient of logits. grad, lse, mass [V, R].
at::Tensor soft_cross_entropy_backward(const at::Tensor& grad, const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs,
                                       const at::Tensor& lse, const at::Tensor& mass, double temperature);

// For the kernels, so that whoever comes through the dispatcher is checked too.
void check_soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& pairs, double temperature);

}  // namespace sslmed::ops
