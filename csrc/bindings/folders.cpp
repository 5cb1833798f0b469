// Folders and small files, for tables of cohorts.

#include "io/folders.h"

#include "bindings/bindings.h"

namespace sslmed::bindings {
namespace {

py::str decoded(const std::string& path) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

using Files = py::typing::List<py::typing::Tuple<std::int64_t, py::str, std::int64_t, bool>>;

py::typing::Tuple<py::typing::List<py::str>, Files, py::typing::List<py::str>, py::typing::List<py::typing::Tuple<py::str, py::str>>,
                  py::typing::Dict<py::str, py::typing::Tuple<std::int64_t, py::str>>>
walk(const std::string& root, const std::vector<std::string>& endings, const std::vector<std::string>& marks, unsigned threads) {
  io::FolderWalk found;
  {
    const py::gil_scoped_release release;
    found = io::walk_folder(root, endings, marks, threads);
  }
  py::list folders, loops, unreadable;
  for (const auto& folder : found.folders) folders.append(decoded(folder));
  py::list files(found.files.size());
  for (std::size_t i = 0; i < found.files.size(); ++i) {
    const auto& file = found.files[i];
    PyList_SET_ITEM(files.ptr(), static_cast<Py_ssize_t>(i), py::make_tuple(file.folder, decoded(file.name), file.ending, file.missing).release().ptr());
  }
  for (const auto& path : found.loops) loops.append(decoded(path));
  for (const auto& [path, why] : found.unreadable) unreadable.append(py::make_tuple(decoded(path), why));
  py::dict other;
  for (const auto& [ending, counted] : found.other) other[decoded(ending)] = py::make_tuple(counted.first, decoded(counted.second));
  return py::make_tuple(folders, files, loops, unreadable, other);
}

py::typing::Tuple<std::vector<std::int64_t>, py::typing::List<py::bytes>> read(const std::vector<std::string>& paths, unsigned threads) {
  io::DistinctFiles found;
  {
    const py::gil_scoped_release release;
    found = io::read_distinct(paths, threads);
  }
  py::list contents;
  for (const auto& bytes : found.contents) contents.append(py::bytes(bytes));
  return py::make_tuple(found.codes, contents);
}

}  // namespace

void bind_folders(py::module_& m) {
  m.def("walk_folder", &walk, py::arg("root"), py::arg("endings"), py::arg("marks") = std::vector<std::string>{}, py::arg("threads") = 4,
        "Files below a folder by their names (io/folders.h): folders below it; (folder, name, number of its ending or -1 for a mark, whether it is no\n"
        "file) of each file; links to a folder around them; folders that cannot be read; other files by ending, as a count and a path.");
  m.def("read_distinct", &read, py::arg("paths"), py::arg("threads") = 4,
        "The bytes of small files: of each path the number of its content, and the contents, each once.");
}

}  // namespace sslmed::bindings
