#pragma once
// An averaged twin of a network: the target encoder of I-JEPA, the teacher of BYOL and DINO.

#include <torch/nn/module.h>

#include <memory>
#include <vector>

namespace sslmed::methods {

class Teacher {
 public:
  // Both of one architecture. The twin's parameters take no gradient from here on, and start as the student's; buffers are copied once.
  Teacher(torch::nn::Module& student, torch::nn::Module& twin);
  // twin = momentum · twin + (1 - momentum) · student, parameter by parameter.
  void update(double momentum);

 private:
  std::vector<at::Tensor> student_, twin_;
};

// A momentum that rises in a line from `start` at step 0 to `end` at the last of `total`.
double rising_momentum(double start, double end, std::int64_t step, std::int64_t total);

}  // namespace sslmed::methods
