#pragma once
// What a layer or an objective may ask of the other ranks of a distributed run, with gradients. One process is alone.

#include <ATen/core/Tensor.h>

namespace sslmed::nn {

class Comm {
 public:
  virtual ~Comm() = default;
  virtual int rank() const { return 0; }
  virtual int size() const { return 1; }
  // Every rank's rows in the order of ranks, [B_0 + B_1 + …, …] from [B, …]; ranks may hold different numbers of them.
  // Each rank's loss sends gradients back to the rows' owners, so that the sum over ranks is that of one process.
  virtual at::Tensor all_gather(const at::Tensor& rows) const { return rows; }

  static const Comm& alone() {
    static const Comm comm;
    return comm;
  }
};

}  // namespace sslmed::nn
