#pragma once
// Packed rows of several sequences, put together and taken apart sequence by sequence. Equal lengths side by side make few pieces.

#include <ATen/core/Tensor.h>

#include "nn/rows.h"

namespace sslmed::nn {

// Puts `token` [P, D] in front of each sequence of packed rows; layers go through prepend_token().
at::Tensor prepend(const at::Tensor& rows, const at::Tensor& token, const Layout& layout);
// The inverse: rows without the first `count` of each sequence, lengths being those with them.
at::Tensor drop_first(const at::Tensor& rows, const Lengths& lengths, std::int64_t count = 1);
// The first row of each sequence, [B, D].
at::Tensor first_rows(const at::Tensor& rows, const Lengths& lengths);
// The mean over each sequence's rows from `skip` on, [B, D].
at::Tensor mean_rows(const at::Tensor& rows, const Lengths& lengths, std::int64_t skip);
// Sequence by sequence the rows of `head`, then those of `tail`. `tail` has a whole number of sequences for each of `head`, whose
// rows stand in front of every one of them. Gives the joint lengths too.
at::Tensor join(const at::Tensor& head, const Lengths& head_lengths, const at::Tensor& tail, const Lengths& tail_lengths, Lengths& lengths);
// What join() took as `tail`.
at::Tensor split_tail(const at::Tensor& rows, const Lengths& head_lengths, const Lengths& tail_lengths);

}  // namespace sslmed::nn
