#include "io/npz.h"

#include <ATen/Functions.h>

#include <optional>

#include "bindings/bindings.h"

namespace sslmed::bindings {
namespace {

at::ScalarType scalar_type(const io::NpyHeader& header) {
  switch (header.kind) {
    case 'b':
      return at::kBool;
    case 'f':
      return header.width == 2 ? at::kHalf : header.width == 4 ? at::kFloat : at::kDouble;
    case 'c':
      return header.width == 8 ? at::kComplexFloat : at::kComplexDouble;
    case 'i':
      return header.width == 1 ? at::kChar : header.width == 2 ? at::kShort : header.width == 4 ? at::kInt : at::kLong;
    default:
      return header.width == 1 ? at::kByte : header.width == 2 ? at::kUInt16 : header.width == 4 ? at::kUInt32 : at::kUInt64;
  }
}

// The values where the file's bytes lie, without a copy, unless the first axis is the fastest.
at::Tensor read_array(const io::NpzFile& file, const io::NpzArray& array) {
  const auto bytes = at::empty({static_cast<std::int64_t>(io::NpzFile::room(array))}, at::kByte);
  const auto begin = static_cast<std::int64_t>(file.read(array, bytes.mutable_data_ptr<std::uint8_t>()));
  const auto flat = bytes.narrow(0, begin, static_cast<std::int64_t>(array.header.bytes)).view(scalar_type(array.header));
  const auto& shape = array.header.shape;
  if (!array.header.is_fortran) return flat.view(shape);
  const std::vector<std::int64_t> reversed(shape.rbegin(), shape.rend());
  std::vector<std::int64_t> axes(shape.size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<std::int64_t>(axes.size() - 1 - i);
  return flat.view(reversed).permute(axes).contiguous();
}

std::vector<std::pair<std::string, at::Tensor>> read_npz(const std::string& path, const std::optional<std::vector<std::string>>& names) {
  const io::NpzFile file(path, names);
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (const auto& array : file.arrays()) out.emplace_back(array.name, read_array(file, array));
  return out;
}

}  // namespace

void bind_npz(py::module_& m) {
  m.def("read_npz", &read_npz, py::arg("path"), py::arg("names") = py::none(), py::call_guard<py::gil_scoped_release>(),
        "(name, values) of these arrays, or of all in the archive's order.");
}

}  // namespace sslmed::bindings
