#include "io/nifti.h"

#include <ATen/Functions.h>

#include "bindings/bindings.h"
#include "core/error.h"
#include "io/nifti_write.h"

namespace sslmed::bindings {
namespace {

using Extensions = std::vector<std::pair<std::int32_t, py::bytes>>;

Extensions to_python(const std::vector<io::NiftiExtension>& extensions) {
  Extensions out;
  for (const auto& extension : extensions) out.emplace_back(extension.code, extension.bytes);
  return out;
}

at::Tensor affine_tensor(const std::array<double, 16>& affine) { return at::tensor(at::ArrayRef<double>(affine), at::kDouble).view({4, 4}); }

// The header's cells and their colors, the first axis fastest in memory, as a tensor in the file's axis order.
at::Tensor in_file_order(const at::Tensor& flat, std::int64_t first, const io::NiftiHeader& header) {
  std::vector<std::int64_t> sizes = header.shape, strides;
  const auto colors = io::numbers_per_cell(header.type);
  std::int64_t stride = colors;
  for (const auto side : sizes) {
    strides.push_back(stride);
    stride *= side;
  }
  if (colors > 1) {
    sizes.push_back(colors);
    strides.push_back(1);
  }
  return flat.as_strided(sizes, strides, first);
}

template <class T>
at::Tensor read_as(io::NiftiReader& reader, at::ScalarType dtype) {
  const auto room = reader.room(sizeof(T));
  const auto flat = at::empty({static_cast<std::int64_t>(room)}, dtype);
  const auto first = reader.read(flat.mutable_data_ptr<T>(), room);
  return in_file_order(flat, static_cast<std::int64_t>(first), reader.header());
}

at::Tensor read_values(io::NiftiReader& reader, const std::string& path, std::optional<at::ScalarType> dtype, std::vector<std::string>& warnings) {
  if (!dtype) {
    dtype = reader.exact_in_float() ? at::kFloat : at::kDouble;
    if (dtype == at::kDouble && !reader.exact_in_double())
      warnings.push_back(path + ": integers of more than 53 bits are rounded in float64; dtype=torch.int64 reads them exactly");
  }
  switch (*dtype) {
    case at::kFloat:
      return read_as<float>(reader, at::kFloat);
    case at::kDouble:
      return read_as<double>(reader, at::kDouble);
    case at::kByte:
      return read_as<std::uint8_t>(reader, at::kByte);
    case at::kChar:
      return read_as<std::int8_t>(reader, at::kChar);
    case at::kShort:
      return read_as<std::int16_t>(reader, at::kShort);
    case at::kInt:
      return read_as<std::int32_t>(reader, at::kInt);
    case at::kLong:
      return read_as<std::int64_t>(reader, at::kLong);
    default:
      throw ValueError(path + ": dtype must be float32, float64, uint8, int8, int16, int32 or int64, got " + c10::toString(*dtype));
  }
}

using ReadNifti = std::tuple<at::Tensor, at::Tensor, std::vector<double>, int, Extensions>;

ReadNifti read_nifti(const std::string& path, std::optional<at::ScalarType> dtype) {
  std::vector<std::string> warnings;
  std::optional<io::NiftiReader> reader;
  at::Tensor data;
  {
    const py::gil_scoped_release release;
    reader.emplace(path, warnings);
    data = read_values(*reader, path, dtype, warnings);
  }
  warn(warnings);
  const auto& header = reader->header();
  return {data, affine_tensor(header.affine), header.spacing, header.affine_code, to_python(reader->extensions())};
}

using NiftiInfo = std::tuple<std::vector<std::int64_t>, at::Tensor, std::vector<double>, int, int, double, double, std::string>;

NiftiInfo read_nifti_header(const std::string& path) {
  std::vector<std::string> warnings;
  io::NiftiHeader header;
  {
    const py::gil_scoped_release release;
    header = io::read_nifti_header(path, warnings);
  }
  warn(warnings);
  auto shape = header.shape;
  if (const auto colors = io::numbers_per_cell(header.type); colors > 1) shape.push_back(colors);
  return {
      shape, affine_tensor(header.affine), header.spacing, header.affine_code, static_cast<int>(header.type), header.slope, header.inter, header.description};
}

void write_nifti(const std::string& path, const at::Tensor& stored, const std::vector<std::int64_t>& shape, int type, const at::Tensor& affine,
                 const std::vector<double>& spacing, int affine_code, double slope, double inter, const Extensions& extensions, const std::string& description,
                 int version, int compression) {
  io::NiftiWriteOptions options;
  options.type = static_cast<io::NiftiType>(type);
  options.shape = shape;
  options.spacing = spacing;
  options.affine_code = affine_code;
  options.slope = slope;
  options.inter = inter;
  for (const auto& [code, bytes] : extensions) options.extensions.push_back({code, bytes});
  options.description = description;
  options.version = version;
  options.compression = compression;
  const py::gil_scoped_release release;
  const auto matrix = affine.to(at::kCPU, at::kDouble).contiguous();
  if (matrix.sizes() != at::IntArrayRef{4, 4}) throw ValueError(path + ": affine must be [4, 4]");
  std::copy_n(matrix.const_data_ptr<double>(), 16, options.affine.begin());
  io::NiftiHeader sizes;
  sizes.type = options.type;
  sizes.shape = shape;
  if (!stored.is_contiguous() || !stored.is_cpu() || stored.nbytes() != sizes.data_bytes())
    throw ValueError(path + ": the stored values do not have the bytes of their shape");
  io::write_nifti(path, options, stored.const_data_ptr());
}

}  // namespace

void bind_nifti(py::module_& m) {
  m.def("read_nifti", &read_nifti, py::arg("path"), py::arg("dtype") = py::none(),
        "(data in the file's axis order, affine [4, 4], spacing, code of the affine, extensions).");
  m.def("read_nifti_header", &read_nifti_header, py::arg("path"),
        "(shape, affine [4, 4], spacing, code of the affine, NIfTI datatype, slope, intercept, description).");
  m.def("write_nifti", &write_nifti, py::arg("path"), py::arg("stored"), py::arg("shape"), py::arg("type"), py::arg("affine"), py::arg("spacing"),
        py::arg("affine_code"), py::arg("slope"), py::arg("inter"), py::arg("extensions"), py::arg("description"), py::arg("version"), py::arg("compression"));
  m.def("have_deflate", &io::deflate_available);
}

}  // namespace sslmed::bindings
