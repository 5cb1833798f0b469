#include "methods/losses.h"

#include <optional>

#include "bindings/bindings.h"

namespace sslmed::bindings {
namespace {

// The other ranks, or none: None where a run has one process.
using OptionalComm = std::optional<std::shared_ptr<nn::Comm>>;

const nn::Comm& comm_of(const OptionalComm& comm) { return comm && *comm ? **comm : nn::Comm::alone(); }

void bind_contrastive(py::module_& m) {
  m.def(
      "nt_xent",
      [](const at::Tensor& a, const at::Tensor& b, double temperature, const OptionalComm& comm) {
        const py::gil_scoped_release release;
        return methods::nt_xent(a, b, temperature, comm_of(comm));
      },
      py::arg("a"), py::arg("b"), py::arg("temperature"), py::arg("comm") = py::none());
  m.def(
      "info_nce",
      [](const at::Tensor& q, const at::Tensor& k, double temperature, const OptionalComm& comm) {
        const py::gil_scoped_release release;
        return methods::info_nce(q, k, temperature, comm_of(comm));
      },
      py::arg("q"), py::arg("k"), py::arg("temperature"), py::arg("comm") = py::none());
  const auto def_kernel = [&m](const char* name, auto* loss) {
    m.def(
        name,
        [loss](const at::Tensor& a, const at::Tensor& b, const at::Tensor& metadata, double sigma, double temperature, const OptionalComm& comm) {
          const py::gil_scoped_release release;
          return loss(a, b, metadata, sigma, temperature, comm_of(comm));
        },
        py::arg("a"), py::arg("b"), py::arg("metadata"), py::arg("sigma"), py::arg("temperature"), py::arg("comm") = py::none());
  };
  def_kernel("y_aware", &methods::y_aware);
  def_kernel("l_exp", &methods::l_exp);
  m.def("byol", &methods::byol, py::arg("p"), py::arg("z"), py::call_guard<py::gil_scoped_release>());
}

void bind_spread(py::module_& m) {
  m.def(
      "koleo",
      [](const at::Tensor& x, const OptionalComm& comm) {
        const py::gil_scoped_release release;
        return methods::koleo(x, comm_of(comm));
      },
      py::arg("x"), py::arg("comm") = py::none());
  m.def(
      "uniformity",
      [](const at::Tensor& x, double kappa, const OptionalComm& comm) {
        const py::gil_scoped_release release;
        return methods::uniformity(x, kappa, comm_of(comm));
      },
      py::arg("x"), py::arg("kappa"), py::arg("comm") = py::none());
  m.def(
      "vicreg",
      [](const at::Tensor& a, const at::Tensor& b, double invariance, double variance, double covariance, const OptionalComm& comm) {
        const py::gil_scoped_release release;
        return methods::vicreg(a, b, {invariance, variance, covariance}, comm_of(comm));
      },
      py::arg("a"), py::arg("b"), py::arg("invariance"), py::arg("variance"), py::arg("covariance"), py::arg("comm") = py::none());
  m.def(
      "barlow_twins",
      [](const at::Tensor& a, const at::Tensor& b, double off_diagonal, const OptionalComm& comm) {
        const py::gil_scoped_release release;
        return methods::barlow_twins(a, b, off_diagonal, comm_of(comm));
      },
      py::arg("a"), py::arg("b"), py::arg("off_diagonal"), py::arg("comm") = py::none());
}

void bind_distillation_losses(py::module_& m) {
  m.def("dino", &methods::dino, py::arg("student"), py::arg("teacher"), py::arg("center"), py::arg("student_temp"), py::arg("teacher_temp"),
        py::call_guard<py::gil_scoped_release>());
  m.def("dino_pairs", &methods::dino_pairs, py::arg("student"), py::arg("teacher"), py::arg("student_temp"), py::call_guard<py::gil_scoped_release>());
  m.def("ibot", &methods::ibot, py::arg("student"), py::arg("teacher"), py::arg("weights"), py::arg("student_temp"), py::call_guard<py::gil_scoped_release>());
  m.def(
      "sinkhorn",
      [](const at::Tensor& logits, double temperature, std::int64_t iterations, const OptionalComm& comm) {
        const py::gil_scoped_release release;
        return methods::sinkhorn(logits, temperature, iterations, comm_of(comm));
      },
      py::arg("logits"), py::arg("temperature"), py::arg("iterations"), py::arg("comm") = py::none());
  m.def("gram", &methods::gram, py::arg("student"), py::arg("teacher"), py::arg("clip_negatives"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void bind_losses(py::module_& m) {
  bind_contrastive(m);
  bind_spread(m);
  bind_distillation_losses(m);
}

}  // namespace sslmed::bindings
