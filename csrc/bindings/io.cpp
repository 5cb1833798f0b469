#include <ATen/Functions.h>

#include <cmath>

#include "bindings/bindings.h"
#include "core/error.h"
#include "io/brainvision.h"
#include "io/edf.h"
#include "io/edflib.h"
#include "io/picture_store.h"
#include "io/recording_store.h"
#include "train/checkpoint.h"

namespace sslmed::bindings {
namespace {

using io::EdfFile;

py::object to_datetime(const std::optional<io::DateTime>& start) {
  if (!start) return py::none();
  return py::module_::import("datetime").attr("datetime")(start->year, start->month, start->day, start->hour, start->minute, start->second, start->microsecond);
}

py::typing::List<py::typing::Tuple<double, double, py::str>> to_list(const std::vector<io::Annotation>& annotations) {
  py::typing::List<py::typing::Tuple<double, double, py::str>> out;
  for (const auto& a : annotations) out.append(py::make_tuple(a.onset, a.duration.value_or(0.0), a.text));
  return out;
}

auto annotations_of(const io::SignalFile& file) {
  std::vector<io::Annotation> found;
  std::vector<std::string> notes;
  {
    const py::gil_scoped_release release;
    found = file.annotations(notes);
  }
  warn(notes);
  return to_list(found);
}

template <class F>
auto per_channel(const io::SignalFile& file, F&& get) {
  std::vector<std::decay_t<decltype(get(std::size_t{0}))>> out;
  for (std::size_t i = 0; i < file.n_channels(); ++i) out.push_back(get(i));
  return out;
}

at::Tensor read_channel(const EdfFile& file, std::int64_t i, std::int64_t start, std::optional<std::int64_t> stop, at::ScalarType dtype) {
  const auto n = static_cast<std::int64_t>(file.n_channels());
  if (i < -n || i >= n) throw py::index_error(file.path() + ": channel " + std::to_string(i) + " of " + std::to_string(n));
  const auto channel = static_cast<std::size_t>(i < 0 ? i + n : i);
  const std::int64_t last = stop.value_or(file.n_samples(channel));
  if (dtype != at::kFloat && dtype != at::kDouble) throw py::type_error("read_channel gives float32 or float64");
  if (start < 0 || last < start || last > file.n_samples(channel))
    throw ValueError(file.path() + ": samples " + std::to_string(start) + " to " + std::to_string(last) + " asked of " +
                     std::to_string(file.n_samples(channel)));
  const py::gil_scoped_release release;
  auto out = at::empty({last - start}, dtype);
  if (dtype == at::kDouble) {
    file.read_channel(channel, start, last, out.data_ptr<double>());
  } else {
    file.read_channel(channel, start, last, out.data_ptr<float>());
  }
  return out;
}

at::Tensor read(const EdfFile& file, double start_s, double stop_s, const std::optional<std::vector<std::int64_t>>& channels) {
  const py::gil_scoped_release release;
  std::vector<std::size_t> rows;
  const auto n = static_cast<std::int64_t>(file.n_channels());
  if (channels) {
    for (const auto c : *channels) {
      if (c < -n || c >= n) throw ValueError(file.path() + ": channel " + std::to_string(c) + " of " + std::to_string(n));
      rows.push_back(static_cast<std::size_t>(c < 0 ? c + n : c));
    }
  } else {
    for (std::size_t i = 0; i < file.n_channels(); ++i) rows.push_back(i);
  }
  if (rows.empty()) throw ValueError(file.path() + ": has no channel to read");
  const double sfreq = file.sfreq(rows.front());
  const double first = std::nearbyint(start_s * sfreq), last = std::nearbyint(stop_s * sfreq);
  if (!(first >= 0) || !(last >= first) || last > static_cast<double>(file.grid_size(rows.front())))
    throw ValueError(file.path() + ": " + std::to_string(start_s) + " to " + std::to_string(stop_s) + " s asked of a file that spans 0 to " +
                     std::to_string(file.duration()) + " s");
  auto out = at::empty({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(last - first)}, at::kFloat);
  file.read_grid(rows, static_cast<std::int64_t>(first), static_cast<std::int64_t>(last), out.data_ptr<float>());
  return out;
}

void write_edf(const std::string& path, const std::vector<at::Tensor>& data, const std::vector<int>& sfreq, const std::vector<std::string>& labels,
               const std::vector<std::string>& units, const std::vector<std::pair<double, double>>& ranges,
               const std::vector<std::tuple<double, double, std::string>>& annotations, const std::optional<std::array<int, 6>>& start,
               const std::string& patient, bool bdf) {
  if (sfreq.size() != data.size() || labels.size() != data.size() || units.size() != data.size() || ranges.size() != data.size())
    throw ValueError(path + ": data, sfreq, ch_names, units and ranges must have one entry a channel");
  const py::gil_scoped_release release;
  std::vector<at::Tensor> alive;
  std::vector<io::EdfWriteSignal> signals;
  for (std::size_t i = 0; i < data.size(); ++i) {
    if (data[i].dim() != 1) throw ValueError(path + ": channel " + std::to_string(i) + " must be one-dimensional");
    alive.push_back(data[i].to(at::kCPU, at::kDouble).contiguous());
    signals.push_back({labels[i], units[i], sfreq[i], ranges[i].first, ranges[i].second, alive.back().const_data_ptr<double>(), alive.back().numel()});
  }
  std::vector<io::Annotation> notes;
  for (const auto& [onset, duration, text] : annotations) notes.push_back({onset, duration > 0 ? std::optional<double>(duration) : std::nullopt, text});
  std::optional<io::DateTime> when;
  if (start) when = io::DateTime{(*start)[0], (*start)[1], (*start)[2], (*start)[3], (*start)[4], (*start)[5], 0};
  io::edflib_write(path, signals, notes, when, patient, bdf);
}

at::Tensor read_brainvision(const io::BrainVisionFile& file, double start_s, double stop_s, const std::optional<std::vector<std::int64_t>>& channels) {
  std::vector<std::size_t> rows;
  const auto n = static_cast<std::int64_t>(file.n_channels());
  for (std::int64_t c = 0; !channels && c < n; ++c) rows.push_back(static_cast<std::size_t>(c));
  for (const auto c : channels.value_or(std::vector<std::int64_t>{})) {
    if (c < -n || c >= n) throw ValueError(file.path() + ": channel " + std::to_string(c) + " of " + std::to_string(n));
    rows.push_back(static_cast<std::size_t>(c < 0 ? c + n : c));
  }
  if (!std::isfinite(start_s) || !std::isfinite(stop_s) || start_s < 0 || stop_s < start_s || stop_s * file.sfreq() > file.n_samples() + 0.5)
    throw ValueError(file.path() + ": seconds " + std::to_string(start_s) + " to " + std::to_string(stop_s) + " asked of a file that spans 0 to " +
                     std::to_string(static_cast<double>(file.n_samples()) / file.sfreq()));
  const py::gil_scoped_release release;
  const std::int64_t first = std::llround(start_s * file.sfreq()), last = std::llround(stop_s * file.sfreq());
  auto out = at::empty({static_cast<std::int64_t>(rows.size()), last - first}, at::kFloat);
  file.read_grid(rows, first, last, out.data_ptr<float>());
  return out;
}

void bind_brainvision(py::module_& m) {
  using io::BrainVisionFile;
  py::class_<BrainVisionFile, std::shared_ptr<BrainVisionFile>>(m, "BrainVisionFile", "An open BrainVision recording (sslmed.io.open_brainvision).")
      .def(py::init([](const std::string& path) {
             std::shared_ptr<BrainVisionFile> file;
             {
               const py::gil_scoped_release release;
               file = std::make_shared<BrainVisionFile>(path);
             }
             warn(file->warnings());
             return file;
           }),
           py::arg("path"))
      .def_property_readonly("path", &BrainVisionFile::path, "Of the header.")
      .def_property_readonly("data_path", &BrainVisionFile::data_path, "Of the samples.")
      .def_property_readonly("ch_names", [](const BrainVisionFile& f) { return per_channel(f, [&](std::size_t i) { return f.label(i); }); })
      .def_property_readonly(
          "units", [](const BrainVisionFile& f) { return per_channel(f, [&](std::size_t i) { return f.unit(i); }); },
          "As the header has them; µV where it has none.")
      .def_property_readonly(
          "resolutions", [](const BrainVisionFile& f) { return per_channel(f, [&](std::size_t i) { return f.header().channels[i].resolution; }); },
          "Of one stored unit in each channel's unit.")
      .def_property_readonly(
          "sfreq", [](const BrainVisionFile& f) { return f.sfreq(); }, "Sampling rate in Hz, of all channels.")
      .def_property_readonly("n_samples", &BrainVisionFile::n_samples, "Of each channel.")
      .def_property_readonly(
          "duration", [](const BrainVisionFile& f) { return static_cast<double>(f.n_samples()) / f.sfreq(); }, "Seconds.")
      .def_property_readonly(
          "start_time", [](const BrainVisionFile& f) { return to_datetime(f.start()); }, "When the first segment began: a naive datetime, or None.")
      .def_property_readonly("warnings", &BrainVisionFile::warnings, "What was salvaged on opening.")
      .def_property_readonly(
          "annotations", [](const BrainVisionFile& f) { return annotations_of(f); },
          "(onset, duration, \"Type/Description\") of the markers: seconds from the first sample.")
      .def("read", &read_brainvision, py::arg("start_s"), py::arg("stop_s"), py::arg("channels") = py::none(),
           "Seconds [start_s, stop_s) as float32 [C, T], each channel in its unit.");
}

}  // namespace

void bind_io(py::module_& m) {
  bind_brainvision(m);
  m.def("set_picture_store", &io::set_picture_store, py::arg("folder"));
  m.def("picture_store", &io::picture_store, "The folder of converted pictures.");
  m.def("stored_picture", &io::stored_picture, py::arg("path"), py::arg("voi"), "Where the converted copy of a file is, or would be.");
  m.def("set_recording_store", &io::set_recording_store, py::arg("folder"));
  m.def("recording_store", &io::recording_store, "The folder of converted recordings.");
  m.def("stored_recording", &io::stored_recording, py::arg("path"), "Where the converted copy of a file is, or would be.");
  py::class_<EdfFile, std::shared_ptr<EdfFile>>(m, "EdfFile", "An open EDF, EDF+ or BDF file (sslmed.io.open_edf).")
      .def(py::init([](const std::string& path) {
             std::shared_ptr<EdfFile> file;
             {
               const py::gil_scoped_release release;
               file = std::make_shared<EdfFile>(path);
             }
             warn(file->warnings());
             return file;
           }),
           py::arg("path"))
      .def_property_readonly("path", &EdfFile::path)
      .def_property_readonly(
          "ch_names", [](const EdfFile& f) { return per_channel(f, [&](std::size_t i) { return f.channel(i).label; }); },
          "Labels, stripped; one a signal, annotation signals excluded.")
      .def_property_readonly(
          "units", [](const EdfFile& f) { return per_channel(f, [&](std::size_t i) { return f.channel(i).unit; }); },
          "Physical dimensions as the header has them, stripped.")
      .def_property_readonly(
          "sfreq", [](const EdfFile& f) { return per_channel(f, [&](std::size_t i) { return f.sfreq(i); }); }, "Sampling rates in Hz.")
      .def_property_readonly(
          "n_samples", [](const EdfFile& f) { return per_channel(f, [&](std::size_t i) { return f.n_samples(i); }); }, "Stored samples, gaps not counted.")
      .def_property_readonly(
          "physical_ranges",
          [](const EdfFile& f) { return per_channel(f, [&](std::size_t i) { return std::pair(f.channel(i).physical_min, f.channel(i).physical_max); }); },
          "(minimum, maximum) of each signal in its unit, as the header has them.")
      .def_property_readonly(
          "start_time", [](const EdfFile& f) { return to_datetime(f.start()); }, "When the first sample was taken: a naive datetime, or None.")
      .def_property_readonly("is_bdf", [](const EdfFile& f) { return f.header().is_bdf; })
      .def_property_readonly("is_continuous", &EdfFile::is_continuous, "Whether the records follow each other without a gap.")
      .def_property_readonly("record_onsets", &EdfFile::record_onsets, "Seconds from the header's start time, one a record.")
      .def_property_readonly(
          "record_duration", [](const EdfFile& f) { return f.header().record_duration; }, "Seconds.")
      .def_property_readonly("duration", &EdfFile::duration, "Seconds from the first sample to the end of the last record, gaps included.")
      .def_property_readonly("warnings", &EdfFile::warnings, "What was salvaged on opening.")
      .def_property_readonly("patient", [](const EdfFile& f) { return f.header().patient; })
      .def_property_readonly("recording", [](const EdfFile& f) { return f.header().recording; })
      .def_property_readonly(
          "annotations", [](const EdfFile& f) { return annotations_of(f); },
          "(onset, duration, text): seconds from the first sample; a duration that is not given is 0.")
      .def("read_channel", &read_channel, py::arg("i"), py::arg("start") = 0, py::arg("stop") = py::none(), py::arg("dtype") = at::kDouble,
           "Stored samples [start, stop) of channel i in physical units, [n]; gaps are not filled.")
      .def("read", &read, py::arg("start_s"), py::arg("stop_s"), py::arg("channels") = py::none(),
           "Seconds [start_s, stop_s) from the first sample as float32 [C, T]; NaN in gaps. Channels of one rate.");
  m.def(
      "edflib_read_channel",
      [](const std::string& path, std::size_t channel) {
        const py::gil_scoped_release release;
        const auto values = io::edflib_read_channel(path, channel);
        return at::tensor(values, at::kDouble);
      },
      py::arg("path"), py::arg("channel"));
  m.def("edflib_annotations", [](const std::string& path) { return to_list(io::edflib_annotations(path)); }, py::arg("path"));
  m.def("edflib_validate", &io::edflib_validate, py::arg("path"), py::call_guard<py::gil_scoped_release>());
  m.def("write_edf", &write_edf, py::arg("path"), py::arg("data"), py::arg("sfreq"), py::arg("ch_names"), py::arg("units"), py::arg("ranges"),
        py::arg("annotations"), py::arg("start_time"), py::arg("patient"), py::arg("bdf"));
  m.def("save_safetensors", &train::save_tensors, py::arg("path"), py::arg("tensors"), py::arg("metadata"), py::call_guard<py::gil_scoped_release>());
  m.def(
      "load_safetensors",
      [](const std::string& path) {
        const py::gil_scoped_release release;
        train::Metadata metadata;
        auto tensors = train::load_tensors(path, &metadata);
        return std::pair(std::move(tensors), std::move(metadata));
      },
      py::arg("path"));
}

}  // namespace sslmed::bindings
