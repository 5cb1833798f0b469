#pragma once
// Cross-entropy of queries against keys, the right key being known (InfoNCE, van den Oord et al., arXiv 1807.03748), by tiles of the matrix of similarities:
// memory is that of queries and keys.

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace sslmed::ops {

// queries [R, D] and keys [M, D], float or double, of one dtype; not normalized here. Row i's logits are queries[i] . keys / temperature, its right
// key is positive[i] ([R] int64), and own[i] ([R] int64, none: no key) is left out. Without keys, queries are compared with each other, never with
// themselves (`own` must be none). Returns (losses [R], log-sum-exp [R]), of which losses have gradients.
// ValueError on mismatched shapes, indices out of range, and a temperature that is not positive.
std::tuple<at::Tensor, at::Tensor> info_nce(const at::Tensor& queries, const std::optional<at::Tensor>& keys, const at::Tensor& positive,
                                            const std::optional<at::Tensor>& own, double temperature);

// Gradients of queries and, where there are keys and `wants_keys`, of keys. grad, lse [R].
std::tuple<at::Tensor, at::Tensor> info_nce_backward(const at::Tensor& grad, const at::Tensor& queries, const std::optional<at::Tensor>& keys,
                                                     const at::Tensor& positive, const std::optional<at::Tensor>& own, const at::Tensor& lse,
                                                     double temperature, bool wants_keys);

// For the kernels, so that whoever comes through the dispatcher is checked too.
void check_info_nce(const at::Tensor& queries, const std::optional<at::Tensor>& keys, const at::Tensor& positive, const std::optional<at::Tensor>& own,
                    double temperature);

}  // namespace sslmed::ops
