// Folders and small files, for tables of cohorts.

#include "io/folders.h"

#include "bindings/bindings.h"

namespace sslmed::bindings {
namespace {

py::str decoded(const std::string& path) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

using Texts = py::typing::List<py::str>;
// Columns: the interpreter's collector looks at a hundred thousand tuples again and again.
using Files = py::typing::Tuple<std::vector<std::int64_t>, Texts, std::vector<std::int64_t>, std::vector<bool>, py::typing::List<Texts>>;

Files columns(const std::vector<io::FolderFile>& files, std::size_t n_values) {
  std::vector<std::int64_t> folder, ending;
  std::vector<bool> missing;
  py::list names, values;
  for (std::size_t k = 0; k < n_values; ++k) values.append(py::list());
  for (const auto& file : files) {
    folder.push_back(file.folder), ending.push_back(file.ending), missing.push_back(file.missing);
    names.append(decoded(file.name));
    for (std::size_t k = 0; k < n_values; ++k) py::list(values[k]).append(py::str(file.values[k]));
  }
  return py::make_tuple(folder, names, ending, missing, values);
}

using Other = py::typing::Dict<py::str, py::typing::Tuple<std::int64_t, py::str>>;

py::typing::Tuple<Texts, Files, Texts, py::typing::List<py::typing::Tuple<py::str, py::str>>, Other> walk(
    const py::bytes& root, const std::vector<std::string>& endings, const std::vector<std::string>& marks, const std::vector<std::string>& unmarked,
    const std::vector<std::string>& entities, unsigned threads) {
  io::FolderWalk found;
  {
    const std::string path = root;
    const py::gil_scoped_release release;
    found = io::walk_folder(path, {endings, marks, unmarked, entities}, threads);
  }
  py::list folders, loops, unreadable;
  for (const auto& folder : found.folders) folders.append(decoded(folder));
  for (const auto& path : found.loops) loops.append(decoded(path));
  for (const auto& [path, why] : found.unreadable) unreadable.append(py::make_tuple(decoded(path), why));
  py::dict other;
  for (const auto& [ending, counted] : found.other) other[decoded(ending)] = py::make_tuple(counted.first, decoded(counted.second));
  return py::make_tuple(folders, columns(found.files, entities.size()), loops, unreadable, other);
}

py::typing::Tuple<std::vector<std::int64_t>, py::typing::List<py::bytes>> read(const std::vector<py::bytes>& paths, unsigned threads) {
  io::DistinctFiles found;
  const std::vector<std::string> names(paths.begin(), paths.end());
  {
    const py::gil_scoped_release release;
    found = io::read_distinct(names, threads);
  }
  py::list contents;
  for (const auto& bytes : found.contents) contents.append(py::bytes(bytes));
  return py::make_tuple(found.codes, contents);
}

}  // namespace

void bind_folders(py::module_& m) {
  m.def("walk_folder", &walk, py::arg("root"), py::arg("endings"), py::arg("marks") = std::vector<std::string>{},
        py::arg("unmarked") = std::vector<std::string>{}, py::arg("entities") = std::vector<std::string>{}, py::arg("threads") = 4,
        "Files below a folder by their names (io/folders.h): folders below it; columns of files, which are the folder, the name, the number of its ending\n"
        "or -1 for a mark, whether it is no file, and labels of the entities (empty: none); links to a folder around them; folders that cannot be read;\n"
        "other files by ending, as a count and a path.");
  m.def("read_distinct", &read, py::arg("paths"), py::arg("threads") = 4,
        "The bytes of small files: of each path the number of its content, and the contents, each once.");
}

}  // namespace sslmed::bindings
