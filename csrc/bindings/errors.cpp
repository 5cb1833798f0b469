// C++ exceptions to Python's, once.

#include <cerrno>

#include "bindings/bindings.h"
#include "core/error.h"
#include "train/trainer.h"

namespace sslmed::bindings {
namespace {

// Kept for the life of the process, as the types themselves are.
PyObject* format_error = nullptr;
PyObject* read_error = nullptr;
PyObject* format_warning = nullptr;
PyObject* non_finite_error = nullptr;
PyObject* collapse_error = nullptr;
PyObject* distributed_error = nullptr;

PyObject* add_type(py::module_& m, const char* name, PyObject* base, const char* doc) {
  const std::string full = std::string("sslmed.") + name;
  PyObject* type = PyErr_NewExceptionWithDoc(full.c_str(), doc, base, nullptr);
  if (type == nullptr) throw py::error_already_set();
  m.attr(name) = py::reinterpret_borrow<py::object>(type);
  return type;
}

}  // namespace

void bind_errors(py::module_& m) {
  format_error =
      add_type(m, "FormatError", PyExc_ValueError, "A file's bytes are not what its format allows: names the file, what was expected and what was found.");
  read_error = add_type(m, "ReadError", PyExc_OSError, "A file could not be read or written: names the file and the reason.");
  format_warning = add_type(m, "FormatWarning", PyExc_UserWarning, "A file breaks its format, and what is sound in it is used: says what was done.");
  non_finite_error = add_type(m, "NonFiniteError", PyExc_ArithmeticError, "A loss or gradient was not finite: names the step and the samples.");
  collapse_error = add_type(m, "CollapseError", PyExc_RuntimeError, "The features have collapsed: names the step and by how little they vary.");
  distributed_error = add_type(m, "DistributedError", PyExc_RuntimeError, "Another rank is gone or did not answer in time; go on from the last checkpoint.");
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const FormatError& error) {
      PyErr_SetString(format_error, error.what());
    } catch (const ReadError& error) {
      if (error.error_number() != 0) {
        // (errno, text): so that error.errno works as for any OSError.
        PyErr_SetObject(read_error, py::make_tuple(error.error_number(), error.what()).ptr());
      } else {
        PyErr_SetString(read_error, error.what());
      }
    } catch (const train::NonFiniteError& error) {
      PyErr_SetString(non_finite_error, error.what());
    } catch (const train::CollapseError& error) {
      PyErr_SetString(collapse_error, error.what());
    } catch (const train::DistributedError& error) {
      PyErr_SetString(distributed_error, error.what());
    } catch (const std::bad_alloc&) {
      PyErr_SetString(PyExc_MemoryError, "out of memory");
    }
  });
}

void warn(const std::vector<std::string>& texts) {
  for (const auto& text : texts)
    if (PyErr_WarnEx(format_warning, text.c_str(), 2) != 0) throw py::error_already_set();
}

}  // namespace sslmed::bindings
