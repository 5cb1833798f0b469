#pragma once
// What tasks, objectives and the loop ask of an encoder: views in, features out.

#include <torch/nn/module.h>

#include <string>
#include <variant>
#include <vector>

#include "core/embedding.h"
#include "nn/comm.h"
#include "nn/tokens.h"

namespace sslmed::nn {

// Tokens of several sequences, one after the other.
struct PatchTokens {
  EmbeddingKey key;     // which embedding they need; an empty modality: the encoder's first
  at::Tensor values;    // [ΣN, P] patches, (p…, c) order; uint8 of pictures
  at::Tensor coords;    // [ΣN, 4] float32: x, y, z in mm, t in s; NaN x where unknown
  at::Tensor position;  // [ΣN] int64 grid cell, row-major (tables); undefined: by `grid`, or 0 … N-1 in every sequence
  at::Tensor grid;      // [ΣN, rank] cell of the grid along each axis (tables), or undefined
  at::Tensor extents;   // [B, rank] int32 on the CPU: cells of each sequence's whole grid; undefined: those of the table
  at::Tensor channel;   // [ΣN] int64 row of the table for channels without a position, or -1; or undefined
  Lengths lengths;      // [B]

  // [M] int64 rows in which an encoder sees `mask_token` [1, D] instead of their values, at their places; undefined: none.
  at::Tensor hidden, mask_token;

  // The tokens in `rows`, as sequences of `lengths`: of each of ours a whole number of them, one after the other. Without positions of their own, tokens take
  // those of whole sequences.
  PatchTokens select(const at::Tensor& rows, Lengths lengths) const;
};

// Arrays of one shape.
struct DenseInput {
  at::Tensor values;   // [B, C, spatial…]; uint8 of pictures
  at::Tensor spacing;  // [B, rank] float64 mm; 0 where unknown; or undefined
  std::int64_t size() const { return values.size(0); }
};

using Input = std::variant<PatchTokens, DenseInput>;

// What a forward pass knows beside its input.
struct Context {
  const Comm* comm = &Comm::alone();  // the other ranks, for layers whose samples interact (batch normalisation)
  at::Tensor drop_path;               // [2·depth, B] factors of each sequence's residual branches, in the order of the blocks; undefined: none
  std::vector<std::int64_t> samples;  // [B] which sample each sequence is of; empty: one each
  std::vector<std::int64_t> layers;   // blocks of a vision transformer whose tokens Features::layers shall hold, numbered from 0
  at::Tensor visible;                 // [B, cells of the last map…] bool, of convolutional encoders: other cells are zero after every norm; undefined: all
};

struct Features {
  // [Σ(prefix+N), D] after the last norm: in each sequence the class token and the registers, where there are any, then
  // the patches; of maps, the cells of the last one, row-major.
  at::Tensor tokens;
  Lengths lengths;                  // [B] of `tokens`
  at::Tensor pooled;                // [B, D] mean over patch tokens
  std::vector<at::Tensor> pyramid;  // [B, D_i, spatial…] maps from fine to coarse; empty of encoders that have none
  std::vector<at::Tensor> layers;   // as `tokens`, after each of Context::layers and the last norm, as DINOv2 takes them for dense tasks
  bool class_token = false;
  std::int64_t registers = 0;  // after the class token
  std::int64_t prefix() const { return (class_token ? 1 : 0) + registers; }
  // [ΣN, D]
  at::Tensor patches() const { return prefix() > 0 ? drop_first(tokens, lengths, prefix()) : tokens; }
  Lengths patch_lengths() const;                                                             // [B]
  at::Tensor summary() const { return class_token ? first_rows(tokens, lengths) : pooled; }  // [B, D], what stands for the view
};

// The features of `counts` sequences each, out of those of all.
std::vector<Features> split_features(const Features& whole, const std::vector<std::int64_t>& counts);

struct EncoderShape {
  std::int64_t dim = 0;        // D
  std::int64_t depth = 0;      // blocks "blocks.0" …, with two residual branches each, that layer decay and dropped paths tell apart; 0: none
  std::int64_t heads = 1;      // of attention
  bool class_token = false;    // in front of the patches
  std::int64_t adapters = 0;   // rank of the parameters "lora_…"; 0: none
  std::int64_t registers = 0;  // learned tokens between the class token and the patches
};

class Encoder : public torch::nn::Module {
 public:
  virtual EncoderShape shape() const = 0;
  // ValueError for an input of the other kind, or of an embedding that the encoder does not hold.
  virtual Features forward_view(const Input& view, const Context& context = {}) const = 0;
  // Several views in as few passes as the encoder can make of them, and the features of each. By default dense views of one shape are stacked.
  virtual std::vector<Features> forward_all(const std::vector<Input>& views, const std::vector<Context>& contexts) const;
  // timm's numbering of layers, for layer decay: 0 what comes before the blocks, 1 … depth the blocks, the last one with the norm after it.
  virtual std::int64_t layer_of(const std::string& parameter) const;
  // Whether a forward pass gathers over the ranks: then every rank must make the same passes.
  virtual bool gathers() const { return false; }
  // Instead of forward_view() on a rank without samples, of an encoder that gathers: a zero with the gathers' gradients.
  virtual at::Tensor absent(const Context&) const { return {}; }
};

}  // namespace sslmed::nn
