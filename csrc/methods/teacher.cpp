#include "methods/teacher.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace sslmed::methods {

Teacher::Teacher(torch::nn::Module& student, torch::nn::Module& twin) {
  const c10::NoGradGuard guard;
  const auto parameters = student.named_parameters();
  const auto buffers = student.named_buffers();
  for (auto& item : twin.named_parameters()) {
    student_.push_back(parameters[item.key()]);
    twin_.push_back(item.value().set_requires_grad(false));
    item.value().copy_(student_.back());
  }
  for (auto& item : twin.named_buffers()) item.value().copy_(buffers[item.key()]);
}

void Teacher::update(double momentum) {
  const c10::NoGradGuard guard;
  at::_foreach_lerp_(twin_, student_, 1 - momentum);
}

double rising_momentum(double start, double end, std::int64_t step, std::int64_t total) {
  const double progress = total > 0 ? static_cast<double>(step) / static_cast<double>(total) : 0;
  return start + progress * (end - start);
}

}  // namespace sslmed::methods
