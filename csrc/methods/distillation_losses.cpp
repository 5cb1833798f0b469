#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "methods/loss_rows.h"
#include "methods/losses.h"

namespace sslmed::methods {
namespace {

void check_views(const char* where, const at::Tensor& student, const at::Tensor& teacher) {
  check_floating(where, "student", student);
  check_floating(where, "teacher", teacher);
  TORCH_CHECK_VALUE(student.dim() == 3 && student.numel() > 0, where, ": student must be [V, B, K] and hold something, got ", student.sizes());
  TORCH_CHECK_VALUE(teacher.dim() == 3 && teacher.size(0) > 0 && teacher.size(1) == student.size(1) && teacher.size(2) == student.size(2), where,
                    ": teacher must be [G, B, K] with B=", student.size(1), " and K=", student.size(2), ", got ", teacher.sizes());
  TORCH_CHECK_VALUE(student.size(0) > 1 || teacher.size(0) > 1, where,
                    ": student and teacher have one view each, the same one, so there is no pair to compare");
}

// -sum over k of targets times log softmax(logits / temperature), summed over the last axis.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double temperature) {
  return -(targets * at::log_softmax(logits / temperature, -1)).sum(-1);
}

}  // namespace

at::Tensor dino_pairs(const at::Tensor& student, const at::Tensor& teacher, double student_temp) {
  const FullPrecision guard;
  check_views("dino_pairs", student, teacher);
  check_positive("dino_pairs", "student_temp", student_temp);
  const auto logits = at_least_float(student), targets = at_least_float(teacher.detach()).to(logits.scalar_type());
  const auto views = student.size(0), globals = teacher.size(0);
  auto total = at::zeros({}, logits.options().requires_grad(false));
  for (std::int64_t g = 0; g < globals; ++g)
    for (std::int64_t v = 0; v < views; ++v)
      if (v != g) total = total + cross_entropy(logits[v], targets[g], student_temp).mean();
  return total / static_cast<double>(views * globals - std::min(views, globals));
}

at::Tensor dino(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& center, double student_temp, double teacher_temp) {
  const FullPrecision guard;
  check_views("dino", student, teacher);
  check_floating("dino", "center", center);
  TORCH_CHECK_VALUE(center.dim() == 1 && center.size(0) == student.size(2), "dino: center must be [K] with K=", student.size(2), ", got ", center.sizes());
  check_positive("dino", "student_temp", student_temp);
  check_positive("dino", "teacher_temp", teacher_temp);
  const auto targets = [&] {
    const c10::NoGradGuard no_grad;
    auto scaled = at_least_float(teacher.detach()) - center.detach();
    return at::softmax(scaled.div_(teacher_temp), -1);
  }();
  return dino_pairs(student, targets, student_temp);
}

at::Tensor ibot(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights, double student_temp) {
  const FullPrecision guard;
  check_floating("ibot", "student", student);
  check_floating("ibot", "teacher", teacher);
  TORCH_CHECK_VALUE(student.dim() == 2 && student.numel() > 0, "ibot: student must be [M, K] and hold something, got ", student.sizes());
  TORCH_CHECK_VALUE(teacher.sizes() == student.sizes(), "ibot: teacher must have the shape of student, ", student.sizes(), ", got ", teacher.sizes());
  TORCH_CHECK_VALUE(weights.dim() == 1 && weights.size(0) == student.size(0), "ibot: weights must be [M] with M=", student.size(0), ", got ", weights.sizes());
  check_positive("ibot", "student_temp", student_temp);
  const auto logits = at_least_float(student), targets = at_least_float(teacher.detach()).to(logits.scalar_type());
  return (weights.detach().to(logits.scalar_type()) * cross_entropy(logits, targets, student_temp)).sum();
}

at::Tensor sinkhorn(const at::Tensor& logits, double temperature, std::int64_t iterations, const nn::Comm& comm) {
  const FullPrecision guard;
  const c10::NoGradGuard no_grad;
  check_rows("sinkhorn", "logits", logits, comm);
  check_positive("sinkhorn", "temperature", temperature);
  TORCH_CHECK_VALUE(iterations >= 1, "sinkhorn: iterations=", iterations, " must be at least 1");
  // As logarithms, log Q = logits / temperature + a sample's and a prototype's part, so that nothing under- or
  // overflows at low temperatures.
  const auto scores = at_least_float(logits.detach()) / temperature;
  const auto prototypes = std::log(static_cast<double>(logits.size(1)));
  const auto samples = std::log(static_cast<double>(share_of(logits.size(0), scores, comm).total));
  auto of_sample = at::zeros({logits.size(0), 1}, scores.options());
  at::Tensor of_prototype;
  for (std::int64_t i = 0; i < iterations; ++i) {
    const auto own = at::logsumexp(scores + of_sample, {0}, /*keepdim=*/true);
    of_prototype = -prototypes - at::logsumexp(comm.all_gather(own), {0}, /*keepdim=*/true);
    of_sample = -samples - at::logsumexp(scores + of_prototype, {1}, /*keepdim=*/true);
  }
  return (scores + of_prototype + (of_sample + samples)).exp();
}

at::Tensor gram(const at::Tensor& student, const at::Tensor& teacher, bool clip_negatives) {
  const FullPrecision guard;
  check_floating("gram", "student", student);
  check_floating("gram", "teacher", teacher);
  TORCH_CHECK_VALUE(student.dim() == 3 && student.numel() > 0, "gram: student must be [B, N, D] and hold something, got ", student.sizes());
  TORCH_CHECK_VALUE(teacher.dim() == 3 && teacher.size(0) == student.size(0) && teacher.size(1) == student.size(1) && teacher.size(2) > 0,
                    "gram: teacher must be [B, N, D] with B=", student.size(0), " and N=", student.size(1), ", got ", teacher.sizes());
  const auto cosines = [](const at::Tensor& x) {
    const auto unit = unit_rows(x);
    return at::bmm(unit, unit.transpose(1, 2));
  };
  auto of_student = cosines(at_least_float(student));
  auto of_teacher = cosines(at_least_float(teacher.detach()).to(of_student.scalar_type()));
  if (clip_negatives) {
    of_student = at::where(at::logical_and(of_student.lt(0), of_teacher.lt(0)), 0.0, of_student);
    of_teacher = of_teacher.clamp_min(0);
  }
  return (of_student - of_teacher).square().mean();
}

}  // namespace sslmed::methods
