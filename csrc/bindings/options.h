#pragma once
// A struct of options, bound once: keywords in Python, attributes to read back.

#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace sslmed::bindings {

// TypeError that names an option that is not there, or whose value is of the wrong type.
inline void set_option(const std::string& name, const py::object& options, const py::handle& key, const py::handle& value) {
  const auto option = py::cast<std::string>(key);
  if (!py::hasattr(options, option.c_str())) throw py::type_error(name + " has no option '" + option + "'");
  try {
    py::setattr(options, option.c_str(), value);
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    throw py::type_error(name + ": " + option + "=" + py::cast<std::string>(py::repr(value)) + " is of the wrong type");
  }
}

template <class Options>
py::class_<Options> bind_options(py::module_& m, const char* name, const char* doc) {
  py::class_<Options> type(m, name, doc);
  const std::string text = name;
  type.def(py::init([text](const py::kwargs& given) {
    Options options;
    const py::object self = py::cast(&options, py::return_value_policy::reference);
    for (const auto& item : given) set_option(text, self, item.first, item.second);
    return options;
  }));
  return type;
}

template <class Enum>
using Choices = std::vector<std::pair<const char*, Enum>>;

template <class Enum>
Enum choice(const std::string& given, const Choices<Enum>& choices, const char* what) {
  std::string known;
  for (const auto& [name, value] : choices) {
    if (given == name) return value;
    known += std::string(known.empty() ? "'" : ", '") + name + "'";
  }
  TORCH_CHECK_VALUE(false, what, " must be one of ", known, ", got '", given, "'");
}

// An option that is one of a few words.
template <class Options, class Enum>
void def_choice(py::class_<Options>& type, const char* name, Enum Options::*member, Choices<Enum> choices) {
  type.def_property(
      name,
      [member, choices](const Options& options) {
        for (const auto& [text, value] : choices)
          if (options.*member == value) return std::string(text);
        return std::string();
      },
      [member, choices, name](Options& options, const std::string& given) { options.*member = choice(given, choices, name); });
}

}  // namespace sslmed::bindings
