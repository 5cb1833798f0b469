// Volumes: preparation, stores, source and recipe.

#include <ATen/Functions.h>

#include <algorithm>

#include "bindings/columns.h"
#include "bindings/options.h"
#include "core/file.h"
#include "modalities/volume/prepare.h"
#include "modalities/volume/regions.h"
#include "modalities/volume/volume_recipe.h"
#include "modalities/volume/volume_source.h"
#include "train/encode.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::volume;
using io::VolumeStore;
using NamedPaths = std::vector<std::pair<std::string, std::string>>;
// What Python hands over of a session: (sequences by name, mask, deface, labels), paths that may be empty.
using FileColumns = std::tuple<NamedPaths, std::string, std::string, std::string>;
using VolumeTensors = std::pair<at::Tensor, at::Tensor>;  // values [X, Y, Z] and affine [4, 4]

SessionFiles files_of(const FileColumns& columns) { return {std::get<0>(columns), std::get<1>(columns), std::get<2>(columns), std::get<3>(columns)}; }

io::Volume3 volume_of(const std::string& name, const VolumeTensors& tensors) {
  const auto& [values, affine] = tensors;
  if (values.dim() != 3 || values.numel() == 0) throw ValueError(name + ": values must be [X, Y, Z], and not empty");
  if (affine.dim() != 2 || affine.size(0) != 4 || affine.size(1) != 4) throw ValueError(name + ": affine must be [4, 4]");
  io::Volume3 out;
  out.shape = {values.size(0), values.size(1), values.size(2)};
  const auto plain = values.to(at::kCPU, at::kFloat).permute({2, 1, 0}).contiguous();  // the first axis runs fastest
  out.values.assign(plain.const_data_ptr<float>(), plain.const_data_ptr<float>() + plain.numel());
  const auto matrix = affine.to(at::kCPU, at::kDouble).contiguous();
  std::copy_n(matrix.const_data_ptr<double>(), 16, out.affine.begin());
  return out;
}

// Prepares, writes, and gives what was found, a JSON text.
std::string write_prepared(const std::string& name, const Session& session, const PreparationOptions& options, const std::string& out,
                           std::vector<std::string>& warnings) {
  const auto prepared = prepare(name, session, options, warnings);
  const auto bytes = io::encode_store(prepared);
  AtomicFile file(out);
  file.write(bytes.data(), bytes.size());
  file.commit();
  return prepared.facts;
}

std::string prepare_files(const std::string& name, const FileColumns& files, const PreparationOptions& options, const std::string& out) {
  std::vector<std::string> warnings;
  std::string facts;
  {
    const py::gil_scoped_release release;
    facts = write_prepared(name, read_session(files_of(files), warnings), options, out, warnings);
  }
  warn(warnings);
  return facts;
}

std::string prepare_tensors(const std::string& name, const std::vector<std::pair<std::string, VolumeTensors>>& sequences,
                            const std::optional<VolumeTensors>& mask, const std::optional<VolumeTensors>& deface, const std::optional<VolumeTensors>& labels,
                            const PreparationOptions& options, const std::string& out, const std::optional<FileColumns>& files) {
  std::vector<std::string> warnings;
  std::string facts;
  {
    const py::gil_scoped_release release;
    Session session;
    for (const auto& [sequence, tensors] : sequences) session.sequences.emplace_back(sequence, volume_of(name + ": " + sequence, tensors));
    if (mask) session.mask = volume_of(name + ": mask", *mask);
    if (deface) session.deface = volume_of(name + ": deface", *deface);
    if (labels) session.labels = volume_of(name + ": labels", *labels);
    if (files) session.files = files_of(*files);
    facts = write_prepared(name, session, options, out, warnings);
  }
  warn(warnings);
  return facts;
}

// Of the first sequence of a store, or of a NIfTI file.
std::string volume_checksum(const std::string& path) {
  std::vector<std::string> warnings;  // told by whoever reads the values
  const py::gil_scoped_release release;
  if (!path.ends_with(".smv")) return checksum_of(io::read_volume3(path, warnings));
  return first_checksum(path, VolumeStore::open(path)->facts());
}

at::Tensor read_channel(const VolumeStore& store, const std::string& name, const std::optional<io::Extent3>& first, const std::optional<io::Extent3>& shape) {
  const auto* channel = store.find(name);
  if (channel == nullptr) throw ValueError("read: this volume has no channel " + quote(name));
  const auto from = first.value_or(io::Extent3{0, 0, 0});
  const auto size = shape.value_or(store.shape());
  for (std::size_t a = 0; a < 3; ++a) {
    require(size[a] >= 1 && size[a] <= (1 << 14), "shape", size[a], "cells must be 1 to 16,384");
    require(from[a] >= -(1 << 14) && from[a] <= (1 << 14), "first", from[a], "must be within 16,384 cells of the volume");
  }
  const py::gil_scoped_release release;
  if (name == "mask" || name == "deface") {
    auto out = at::empty({size[0], size[1], size[2]}, at::kByte);
    store.read(*channel, from, size, out.data_ptr<std::uint8_t>());
    return out.to(at::kBool);
  }
  if (name == "labels") {
    auto out = at::empty({size[0], size[1], size[2]}, at::kInt);
    store.read(*channel, from, size, out.data_ptr<std::int32_t>());
    return out;
  }
  auto out = at::empty({size[0], size[1], size[2]}, at::kFloat);
  store.read(*channel, from, size, out.data_ptr<float>());
  return out;
}

std::vector<std::string> channel_names(const VolumeStore& store) {
  std::vector<std::string> names;
  for (const auto& channel : store.channels()) names.push_back(channel.name);
  return names;
}

at::Tensor affine_of(const VolumeStore& store) {
  auto out = at::empty({4, 4}, at::kDouble);
  std::copy(store.affine().begin(), store.affine().end(), out.data_ptr<double>());
  return out;
}

std::shared_ptr<VolumeSource> make_volume_source(const std::string& modality, const OriginColumns& origins, const std::vector<FileColumns>& files,
                                                 const std::vector<std::string>& sequences, const std::vector<bool>& optional,
                                                 const std::vector<std::int32_t>& extra, const io::Extent3& region, bool labels, bool random,
                                                 const PreparationOptions& preparation, TargetColumns targets) {
  std::vector<SessionFiles> sessions;
  for (const auto& one : files) sessions.push_back(files_of(one));
  return std::make_shared<VolumeSource>(origins_of(origins), std::move(sessions),
                                        VolumeSourceOptions{modality, sequences, optional, extra, region, labels, random, preparation}, std::move(targets));
}

void bind_preparation(py::module_& m) {
  auto options = bind_options<PreparationOptions>(m, "PreparationOptions", "How volumes are prepared (modalities/volume/prepare.h).");
  options.def_readwrite("spacing", &PreparationOptions::spacing)
      .def_readwrite("margin", &PreparationOptions::margin)
      .def_readwrite("clip", &PreparationOptions::clip)
      .def(
          "check", [](const PreparationOptions& self) { check(self); }, "ValueError that names the option that is out of range.")
      .def_property_readonly("text", [](const PreparationOptions& self) { return text_of(self); }, "The options as JSON, as a store keeps them.");
  def_choice(options, "crop", &PreparationOptions::crop, Choices<Crop>{{"foreground", Crop::kForeground}, {"none", Crop::kNone}});
  def_choice(options, "normalize", &PreparationOptions::normalize, Choices<Normalize>{{"zscore", Normalize::kZscore}, {"none", Normalize::kNone}});
  def_choice(options, "storage", &PreparationOptions::storage, Choices<Storage>{{"int16", Storage::kInt16}, {"uint8", Storage::kUint8}});
  m.def("prepare_files", &prepare_files, py::arg("name"), py::arg("files"), py::arg("options"), py::arg("out"),
        "Prepares the NIfTI files (sequences, mask, deface, labels) of a session into a store; gives what was found, as JSON.");
  m.def("prepare_tensors", &prepare_tensors, py::arg("name"), py::arg("sequences"), py::arg("mask"), py::arg("deface"), py::arg("labels"), py::arg("options"),
        py::arg("out"), py::arg("files") = py::none(),
        "The same for volumes (values [X, Y, Z], affine [4, 4]) in memory. files: where they were read, for messages.");
  m.def("volume_checksum", &volume_checksum, py::arg("path"),
        "Hexadecimal checksum of the values and the shape of a NIfTI file, or of the first sequence that a store (.smv) was made of.");
}

}  // namespace

void bind_volume(py::module_& m) {
  bind_preparation(m);
  py::class_<VolumeStore, std::shared_ptr<VolumeStore>>(m, "VolumeStore", "A prepared session (io/volume_store.h).")
      .def(py::init([](const std::string& path) { return std::const_pointer_cast<VolumeStore>(VolumeStore::open(path)); }), py::arg("path"),
           py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("shape", &VolumeStore::shape)
      .def_property_readonly("spacing", &VolumeStore::spacing)
      .def_property_readonly("affine", &affine_of)
      .def_property_readonly("settings", &VolumeStore::settings)
      .def_property_readonly("facts", &VolumeStore::facts)
      .def_property_readonly("channels", &channel_names)
      .def("verify", &VolumeStore::verify, py::call_guard<py::gil_scoped_release>(), "FormatError where a chunk is damaged.")
      .def("read", &read_channel, py::arg("name"), py::arg("first") = py::none(), py::arg("shape") = py::none(),
           "[X, Y, Z] float32 of a sequence, bool of mask and deface, int32 of labels.");
  py::class_<VolumeSource, data::Source, std::shared_ptr<VolumeSource>>(m, "VolumeSource")
      .def(py::init(&make_volume_source), py::kw_only(), py::arg("modality"), py::arg("origins"), py::arg("files"), py::arg("sequences"), py::arg("optional"),
           py::arg("extra"), py::arg("region"), py::arg("labels"), py::arg("random"), py::arg("preparation"), py::arg("targets") = TargetColumns{})
      .def("take_warnings", &VolumeSource::take_warnings, "What was found on preparing files since the last call.")
      .def(
          "store",
          [](const VolumeSource& source, std::int64_t index) {
            const py::gil_scoped_release release;
            return std::const_pointer_cast<VolumeStore>(source.open(index));
          },
          py::arg("index"), "The prepared session.");
  bind_options<VolumeView>(m, "VolumeView", "One view that a VolumeRecipe makes (modalities/volume/volume_recipe.h).")
      .def_readwrite("role", &VolumeView::role)
      .def_readwrite("count", &VolumeView::count)
      .def_readwrite("size", &VolumeView::size)
      .def_readwrite("random", &VolumeView::random)
      .def_readwrite("spatial", &VolumeView::spatial)
      .def_readwrite("intensity", &VolumeView::intensity)
      .def_readwrite("p_drop", &VolumeView::p_drop)
      .def_readwrite("mask", &VolumeView::mask)
      .def_readwrite("mask_cell", &VolumeView::mask_cell)
      .def_readwrite("share", &VolumeView::share);
  py::class_<VolumeRecipe, data::Recipe, std::shared_ptr<VolumeRecipe>>(m, "VolumeRecipe")
      .def(py::init([](std::vector<std::int64_t> patch, double anatomy, std::vector<VolumeView> views) {
             return std::make_shared<VolumeRecipe>(VolumeRecipeOptions{std::move(patch), anatomy, std::move(views)});
           }),
           py::arg("patch"), py::arg("anatomy"), py::arg("views"));
  m.def(
      "volume_regions", [] { return train::Pooling{train::Pooling::Kind::kRegions, volume::kRegions, volume_regions}; },
      "Pooling by twelve regions: left or right, back, middle or front, low or high.");
}

}  // namespace sslmed::bindings
