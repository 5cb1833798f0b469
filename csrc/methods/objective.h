#pragma once
// What is learned: self-supervised methods and supervised tasks alike. An objective owns its encoder, heads and teacher; its
// parameters and buffers are its whole state.

#include <torch/nn/module.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "data/recipe.h"
#include "nn/comm.h"
#include "nn/encoder.h"

namespace sslmed::methods {

struct Step {
  std::int64_t number = 0, total = 0;         // optimiser steps
  const nn::Comm* comm = &nn::Comm::alone();  // the other ranks, for losses whose samples interact
};

struct Loss {
  at::Tensor total;                                                   // scalar, to be minimised: a mean
  double weight = 0;                                                  // over so many terms, by which batches and ranks are averaged; 0: the batch's samples
  at::Tensor per_sample;                                              // [B], where samples do not interact; undefined otherwise
  std::vector<std::pair<std::string, at::Tensor>> parts;              // what to log beside it
  at::Tensor features;                                                // [B, D] of the samples, detached: what is watched for collapse; undefined: nothing is
  double learned_nothing = std::numeric_limits<double>::quiet_NaN();  // what `total` is where every sample gets the same answer (ln K); NaN: not known
  at::Tensor answers;                                                 // the part of `total` that `learned_nothing` is about; undefined: all of it
};

struct ParameterGroup {
  std::vector<std::string> names;
  std::vector<at::Tensor> parameters;
  double lr_scale = 1;
  bool decay = true;
};

class Objective : public torch::nn::Module {
 public:
  // How samples become views; run in the loader's threads. Null: whoever trains it must say (a loader's own recipe).
  virtual std::shared_ptr<const data::Recipe> recipe() const = 0;
  virtual Loss loss(const data::Batch& batch, const Step& step) = 0;
  // Instead of loss() on a rank that has none of the batch's samples: what gathers over ranks takes part here too. A zero that gradients come from.
  virtual at::Tensor absent(const Step& step);
  // By default one group with weight decay and one without (biases, norms, tokens: everything of one dimension).
  virtual std::vector<ParameterGroup> parameter_groups() const;
  virtual void after_backward(const Step&) {}
  virtual void after_step(const Step&) {}
  // What the run is for: the encoder to keep.
  virtual std::shared_ptr<nn::Encoder> encoder() const = 0;
};

// A batch's views as the encoders take them.
nn::Input input_of(const data::ViewBatch& view);
nn::PatchTokens tokens_of(const data::PackedPatches& patches);
// What a forward pass over these views knows: the other ranks, and whose rows they are.
nn::Context context_of(const data::ViewBatch& view, const Step& step);

}  // namespace sslmed::methods
