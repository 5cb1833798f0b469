#pragma once
// The only room that includes Python. One function a room; module.cpp calls them.

// torch's pybind11: another version has other internals, and exceptions and tensors would silently not cross.
#include <pybind11/stl.h>
#include <pybind11/typing.h>
#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <string>
#include <vector>

static_assert(PYBIND11_VERSION_MAJOR == 3 || PYBIND11_VERSION_MAJOR == 2, "use the pybind11 headers that torch ships");

namespace sslmed::bindings {

namespace py = pybind11;

void bind_errors(py::module_& m);
void bind_io(py::module_& m);
void bind_nifti(py::module_& m);
void bind_npz(py::module_& m);
void bind_slide(py::module_& m);
void bind_picture(py::module_& m);
void bind_transforms(py::module_& m);
void bind_masking(py::module_& m);
void bind_methods(py::module_& m);
void bind_joint_embedding(py::module_& m);
void bind_pretext(py::module_& m);
void bind_dinov2(py::module_& m);
void bind_nn(py::module_& m);
void bind_dense(py::module_& m);
void bind_python(py::module_& m);
void bind_data(py::module_& m);
void bind_eeg(py::module_& m);
void bind_pictures(py::module_& m);
void bind_tasks(py::module_& m);
void bind_segment(py::module_& m);
void bind_detect(py::module_& m);
void bind_train(py::module_& m);
void bind_volume(py::module_& m);
void bind_volume_spatial(py::module_& m);
void bind_volume_intensity(py::module_& m);
void bind_losses(py::module_& m);
void bind_metrics(py::module_& m);
void bind_whole_slide(py::module_& m);

// Emits sslmed.FormatWarning for each text; the GIL must be held.
void warn(const std::vector<std::string>& texts);

}  // namespace sslmed::bindings
