#include <torch/version.h>

#include "bindings/bindings.h"
#include "io/edflib.h"

namespace sslmed::bindings {
void bind_lift(py::module_& m);
void bind_folders(py::module_& m);
void bind_bags(py::module_& m);
void bind_federated(py::module_& m);
}  // namespace sslmed::bindings

namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  using namespace sslmed;
  m.doc() = "The C++ core of sslmed. Use it through the package; names here may change.";
  m.attr("TORCH_VERSION") = TORCH_VERSION;
#ifdef SSLMED_CUDA
  m.attr("HAS_CUDA") = true;
#else
  m.attr("HAS_CUDA") = false;
#endif
  m.attr("HAS_EDFLIB") = io::edflib_available();
  m.attr("COMPILER") = compiler();
  m.attr("BUILD_TYPE") = SSLMED_BUILD_TYPE;
  bindings::bind_errors(m);
  bindings::bind_io(m);
  bindings::bind_nifti(m);
  bindings::bind_npz(m);
  bindings::bind_slide(m);
  bindings::bind_picture(m);
  bindings::bind_transforms(m);
  bindings::bind_masking(m);
  bindings::bind_data(m);
  bindings::bind_nn(m);
  bindings::bind_dense(m);
  bindings::bind_methods(m);
  bindings::bind_joint_embedding(m);
  bindings::bind_pretext(m);
  bindings::bind_dinov2(m);
  bindings::bind_tasks(m);
  bindings::bind_segment(m);
  bindings::bind_detect(m);
  bindings::bind_python(m);
  bindings::bind_train(m);
  bindings::bind_eeg(m);
  bindings::bind_pictures(m);
  bindings::bind_volume_spatial(m);
  bindings::bind_volume_intensity(m);
  bindings::bind_volume(m);
  bindings::bind_losses(m);
  bindings::bind_lift(m);
  bindings::bind_folders(m);
  bindings::bind_bags(m);
  bindings::bind_metrics(m);
  bindings::bind_whole_slide(m);
  bindings::bind_federated(m);
}
