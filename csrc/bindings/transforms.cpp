#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "core/error.h"
#include "transforms/filter.h"
#include "transforms/montage.h"
#include "transforms/resample.h"
#include "transforms/scale.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::transforms;

// A float64 copy of x [C, T] to work on, and the dtype to give back.
struct Work {
  explicit Work(const at::Tensor& x) : type(x.scalar_type()) {
    if (x.dim() != 2 || x.size(0) < 1 || x.size(1) < 1) throw ValueError("expected a signal of shape [channels, samples]");
    if (type != at::kFloat && type != at::kDouble) throw py::type_error("expected a float32 or float64 signal");
    data = at::empty(x.sizes(), at::kDouble).copy_(x.detach());  // what happens to the copy, autograd does not see
  }
  double* ptr() { return data.data_ptr<double>(); }
  std::int64_t channels() const { return data.size(0); }
  std::int64_t length() const { return data.size(1); }
  at::Tensor result() const { return data.to(type); }

  at::ScalarType type;
  at::Tensor data;
};

std::vector<char> flags(const std::optional<at::Tensor>& good, Work& work) {
  if (!good) return good_channels(work.ptr(), work.channels(), work.length());
  if (good->dim() != 1 || good->size(0) != work.channels() || good->scalar_type() != at::kBool)
    throw ValueError("good must be a bool tensor with one entry a channel");
  const auto values = good->contiguous();
  const bool* at = values.const_data_ptr<bool>();
  return {at, at + values.numel()};
}

at::Tensor filtered(const at::Tensor& x, const Sections& sections) {
  Work work(x);
  const py::gil_scoped_release release;
  filter_zero_phase(sections, work.ptr(), work.channels(), work.length());
  return work.result();
}

at::Tensor scaled(const at::Tensor& x, Scaling scaling, double clip, const std::optional<at::Tensor>& good) {
  Work work(x);
  const py::gil_scoped_release release;
  scale_channels(work.ptr(), work.channels(), work.length(), flags(good, work), scaling, clip);
  return work.result();
}

}  // namespace

void bind_transforms(py::module_& m) {
  m.def(
      "bandpass", [](const at::Tensor& x, double sfreq, double low, double high, int order) { return filtered(x, butterworth(order, low, high, sfreq)); },
      py::arg("x"), py::arg("sfreq"), py::arg("low"), py::arg("high"), py::arg("order") = 4);
  m.def(
      "notch", [](const at::Tensor& x, double sfreq, double freq, double quality) { return filtered(x, notch(freq, quality, sfreq)); }, py::arg("x"),
      py::arg("sfreq"), py::arg("freq"), py::arg("quality") = 30.0);
  m.def(
      "resample",
      [](const at::Tensor& x, double from, double to) {
        Work work(x);
        const py::gil_scoped_release release;
        const auto resampler = Resampler::between(from, to);
        auto out = at::empty({work.channels(), resampler.output_length(work.length())}, at::kDouble);
        resampler.apply(work.ptr(), work.channels(), work.length(), out.data_ptr<double>());
        return out.to(work.type);
      },
      py::arg("x"), py::arg("sfreq"), py::arg("to"));
  m.def(
      "good_channels",
      [](const at::Tensor& x, double flat) {
        Work work(x);
        const auto good = good_channels(work.ptr(), work.channels(), work.length(), flat);
        auto out = at::empty({work.channels()}, at::kBool);
        std::copy(good.begin(), good.end(), out.data_ptr<bool>());
        return out;
      },
      py::arg("x"), py::arg("flat") = 0.0);
  m.def(
      "average_reference",
      [](const at::Tensor& x, const std::optional<at::Tensor>& good) {
        Work work(x);
        const auto usable = flags(good, work);
        average_reference(work.ptr(), work.channels(), work.length(), usable);
        return work.result();
      },
      py::arg("x"), py::arg("good") = py::none());
  m.def(
      "zscore", [](const at::Tensor& x, double clip, const std::optional<at::Tensor>& good) { return scaled(x, Scaling::kZScore, clip, good); }, py::arg("x"),
      py::arg("clip") = 15.0, py::arg("good") = py::none());
  m.def(
      "robust_scale", [](const at::Tensor& x, double clip, const std::optional<at::Tensor>& good) { return scaled(x, Scaling::kRobust, clip, good); },
      py::arg("x"), py::arg("clip") = 15.0, py::arg("good") = py::none());
  m.def("electrode_position", [](const std::string& name) { return electrode_position(name); }, py::arg("name"));
  m.def("standard_name", [](const std::string& name) { return standard_name(name); }, py::arg("name"));
  m.def("standard_names", &standard_names);
}

}  // namespace sslmed::bindings
