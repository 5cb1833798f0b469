#pragma once
// What tasks, objectives and the loop ask of an encoder: packed tokens in, features out.

#include <torch/nn/module.h>

#include "nn/tokens.h"

namespace sslmed::nn {

// Tokens of several sequences, one after the other.
struct PatchTokens {
  at::Tensor values;    // [ΣN, P] patches, (p…, c) order; uint8 of pictures
  at::Tensor coords;    // [ΣN, 4] float32: x, y, z in mm, t in s (kElectrode); NaN x where unknown
  at::Tensor position;  // [ΣN] int64 grid cell, row-major (tables); undefined: by `grid`, or 0 … N-1 in every sequence
  at::Tensor grid;      // [ΣN, 2] row and column of the grid (tables), or undefined
  at::Tensor channel;   // [ΣN] int64 row of the table for unknown electrodes, or -1 (kElectrode)
  Lengths lengths;      // [B]

  // The tokens in `rows`, as sequences of `lengths`. Without positions of their own, tokens take those of whole sequences.
  PatchTokens select(const at::Tensor& rows, Lengths lengths) const;
};

struct Encoded {
  at::Tensor tokens;  // [Σ(1+N), D], class token (if there is one) first in each sequence, after the last norm
  at::Tensor pooled;  // [B, D] mean over patch tokens
  Lengths lengths;    // [B] of `tokens`
  bool class_token = true;
  at::Tensor patches() const { return class_token ? drop_first(tokens, lengths) : tokens; }  // [ΣN, D]
};

struct EncoderShape {
  std::int64_t dim = 0;       // D
  std::int64_t depth = 0;     // blocks "blocks.0" …, with two residual branches each, that layer decay and dropped paths tell apart; 0: none
  std::int64_t heads = 1;     // of attention
  bool class_token = false;   // in front of the patches
  std::int64_t adapters = 0;  // rank of the parameters "lora_…"; 0: none
};

class Encoder : public torch::nn::Module {
 public:
  virtual EncoderShape shape() const = 0;
  // `keep` [2·depth, B]: factors of each sequence's residual branches, in the order of the blocks (stochastic depth); undefined: none.
  virtual Encoded forward_tokens(const PatchTokens& tokens, const at::Tensor& keep = {}) const = 0;
};

}  // namespace sslmed::nn
