// EEG: recordings, their source and recipe, and regions of the head.

#include <ATen/Functions.h>

#include <cmath>
#include <numeric>

#include "bindings/columns.h"
#include "bindings/options.h"
#include "core/error.h"
#include "modalities/eeg/eeg_recipe.h"
#include "modalities/eeg/eeg_source.h"
#include "modalities/eeg/regions.h"
#include "train/encode.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::eeg;

using Positions = std::map<std::string, std::array<double, 3>>;

// What Python knows of a recording: a path, or an array [channels, samples] in µV.
struct Spec {
  std::string name;
  std::optional<at::Tensor> values;
  double sfreq = 0;
  std::vector<std::string> channels;
  std::string subject, site;
  ChannelChoice choice;
  Positions positions;
};

constexpr const char* kKinds[] = {"electrode", "derivation", "unplaced", "auxiliary"};

std::shared_ptr<EegSource> make_source(const std::vector<Spec>& specs, const EegOptions& options, const std::vector<std::string>& extra_channels,
                                       TargetColumns targets) {
  std::shared_ptr<EegSource> source;
  std::vector<std::string> notes;
  {
    const py::gil_scoped_release release;
    const auto cache = std::make_shared<FileCache>();
    std::vector<RecordingEntry> entries;
    for (const auto& spec : specs) {
      std::shared_ptr<const Recording> recording;
      if (spec.values) {
        const auto owner = std::make_shared<at::Tensor>(spec.values->to(at::kCPU, at::kFloat).contiguous());
        if (owner->dim() != 2 || owner->size(0) != static_cast<std::int64_t>(spec.channels.size()))
          throw ValueError(spec.name + ": values must be [channels, samples] with one name a channel");
        recording = array_recording(spec.name, owner->const_data_ptr<float>(), owner->size(1), spec.sfreq, spec.channels, owner, spec.choice, options.flat_gap);
        std::int64_t left_out = owner->size(1);
        for (const auto& stretch : recording->stretches()) left_out -= stretch.last - stretch.first;
        if (left_out > 0)
          notes.push_back(spec.name + ": " + std::to_string(static_cast<double>(left_out) / spec.sfreq) + " s of " +
                          std::to_string(static_cast<double>(owner->size(1)) / spec.sfreq) +
                          " s are gaps (NaN in all channels, as where they are annotated as bad, or no change in any), and left out");
      } else {
        recording = open_recording(spec.name, cache, notes, spec.choice, Spans::kUsable, options.flat_gap);
      }
      entries.push_back({std::move(recording), spec.subject, spec.site, spec.positions});
    }
    source = std::make_shared<EegSource>(open_list(std::move(entries)), options, extra_channels, std::move(targets));
    notes.insert(notes.end(), source->notes().begin(), source->notes().end());
  }
  warn(notes);
  return source;
}

std::shared_ptr<EegSource> make_indexed_source(const OriginColumns& origins, const at::Tensor& montage_codes,
                                               const std::vector<std::tuple<double, std::vector<std::string>, Positions>>& montages, const at::Tensor& samples,
                                               const std::map<std::int64_t, std::vector<std::pair<std::int64_t, std::int64_t>>>& gappy,
                                               const EegOptions& options, const std::vector<std::string>& extra_channels, TargetColumns targets, bool parts,
                                               const std::optional<at::Tensor>& unit_codes, std::vector<std::map<std::string, std::string>> units) {
  RecordingIndex index;
  index.origins = origins_of(origins);
  index.montage_codes = numbers<std::int32_t>(montage_codes);
  for (const auto& [sfreq, channels, positions] : montages) index.montages.push_back({sfreq, channels, positions});
  index.parts = parts;
  if (unit_codes) index.unit_codes = numbers<std::int32_t>(*unit_codes);
  index.units = std::move(units);
  index.samples = numbers<std::int64_t>(samples);
  for (const auto& [i, stretches] : gappy)
    for (const auto& [first, last] : stretches) index.gappy[i].push_back({first, last});
  std::shared_ptr<EegSource> source;
  {
    const py::gil_scoped_release release;
    source = std::make_shared<EegSource>(indexed_list(std::move(index)), options, extra_channels, std::move(targets));
  }
  warn(source->notes());
  return source;
}

void bind_signal_views(py::module_& m) {
  using transforms::SignalAugmentation;
  auto changes = bind_options<SignalAugmentation>(m, "SignalAugmentation", "Random changes of signals (transforms/signal_augment.h).");
  for (const auto& [name, member] : {std::pair{"p_shift", &SignalAugmentation::p_shift},
                                     {"max_shift", &SignalAugmentation::max_shift},
                                     {"p_band_stop", &SignalAugmentation::p_band_stop},
                                     {"band_width", &SignalAugmentation::band_width},
                                     {"p_scale", &SignalAugmentation::p_scale},
                                     {"p_flip", &SignalAugmentation::p_flip},
                                     {"p_noise", &SignalAugmentation::p_noise},
                                     {"p_time_mask", &SignalAugmentation::p_time_mask},
                                     {"max_time_mask", &SignalAugmentation::max_time_mask},
                                     {"p_channel_drop", &SignalAugmentation::p_channel_drop},
                                     {"channel_drop", &SignalAugmentation::channel_drop}})
    changes.def_readwrite(name, member);
  const auto range = [&changes](const char* name, double SignalAugmentation::*low, double SignalAugmentation::*high) {
    changes.def_property(
        name, [low, high](const SignalAugmentation& self) { return std::array{self.*low, self.*high}; },
        [low, high](SignalAugmentation& self, const std::array<double, 2>& given) { self.*low = given[0], self.*high = given[1]; });
  };
  range("band", &SignalAugmentation::band_low, &SignalAugmentation::band_high);
  range("scale", &SignalAugmentation::scale_low, &SignalAugmentation::scale_high);
  range("noise_std", &SignalAugmentation::noise_low, &SignalAugmentation::noise_high);
  m.def(
      "augment_signal",
      [](const at::Tensor& signal, double sfreq, const SignalAugmentation& how, std::uint64_t seed, std::uint64_t index) {
        if (signal.dim() != 2 || signal.numel() == 0) throw ValueError("augment_signal: signal must be [channels, samples], and not empty");
        transforms::check(how);
        const py::gil_scoped_release release;
        auto values = at::empty(signal.sizes(), at::kFloat).copy_(signal);
        Philox random({seed, 0, index}, Stream::kSignal);
        const auto plan = transforms::plan_signal(values.size(0), values.size(1), sfreq, how, random);
        transforms::apply_signal(plan, sfreq, values.size(0), values.size(1), random, values.data_ptr<float>());
        return std::make_tuple(values, plan.shift, plan.stop, plan.factors, plan.noise, std::pair(plan.mask_first, plan.mask_last), plan.kept);
      },
      py::arg("signal"), py::arg("sfreq"), py::arg("how"), py::arg("seed"), py::arg("index"),
      "[channels, samples] float32, and what was drawn: shift, Hz of the stopped band, factors, noise, the masked samples, and which channels are kept.");
  bind_options<EegView>(m, "EegView", "One view that an EegRecipe makes (modalities/eeg/eeg_recipe.h).")
      .def_readwrite("role", &EegView::role)
      .def_readwrite("count", &EegView::count)
      .def_readwrite("length", &EegView::length)
      .def_readwrite("augmentation", &EegView::augmentation)
      .def_readwrite("mask", &EegView::mask);
  py::class_<EegRecipe, data::Recipe, std::shared_ptr<EegRecipe>>(m, "EegRecipe")
      .def(py::init([](std::int64_t patch, std::int64_t overlap, std::vector<EegView> views, std::int64_t mask_cell) {
             return std::make_shared<EegRecipe>(EegRecipeOptions{patch, overlap, std::move(views), mask_cell});
           }),
           py::arg("patch"), py::arg("overlap"), py::arg("views"), py::arg("mask_cell"), "patch: samples; 0 for dense views.");
}

}  // namespace

void bind_eeg(py::module_& m) {
  bind_signal_views(m);
  py::class_<Spec>(m, "RecordingSpec")
      .def(py::init([](std::string name, std::optional<at::Tensor> values, double sfreq, std::vector<std::string> channels, std::string subject,
                       std::string site, std::vector<std::string> use, std::vector<std::string> exclude, std::map<std::string, std::string> units,
                       Positions positions) {
             return Spec{std::move(name),
                         std::move(values),
                         sfreq,
                         std::move(channels),
                         std::move(subject),
                         std::move(site),
                         {std::move(use), std::move(exclude), std::move(units)},
                         std::move(positions)};
           }),
           py::arg("name"), py::arg("values") = py::none(), py::arg("sfreq") = 0.0, py::arg("channels") = std::vector<std::string>{}, py::arg("subject") = "",
           py::arg("site") = "", py::arg("use") = std::vector<std::string>{}, py::arg("exclude") = std::vector<std::string>{},
           py::arg("units") = std::map<std::string, std::string>{}, py::arg("positions") = Positions{});
  m.def(
      "recognize_channels",
      [](const std::vector<std::string>& labels) {
        std::vector<std::tuple<std::string, std::string, std::string, bool>> found;
        for (const auto& c : recognize(labels)) found.emplace_back(kKinds[static_cast<std::size_t>(c.kind)], c.name, c.reference, c.repeated);
        return found;
      },
      py::arg("labels"), "Of each label among the others: kind, 10-05 name (or label), reference, and whether an earlier one is at the same place.");
  m.def(
      "choose_channels",
      [](const std::vector<std::tuple<std::string, std::string, double, bool>>& signals, std::vector<std::string> use, std::vector<std::string> exclude) {
        std::vector<SignalHead> heads;
        for (const auto& [label, unit, sfreq, readable] : signals) heads.push_back({label, unit, sfreq, readable});
        std::vector<std::tuple<std::string, bool, std::string>> found;
        for (const auto& one : choose_channels(heads, {std::move(use), std::move(exclude)})) found.emplace_back(one.label, one.used, one.why);
        return found;
      },
      py::arg("signals"), py::arg("use") = std::vector<std::string>{}, py::arg("exclude") = std::vector<std::string>{},
      "Of each signal (label, unit, Hz, readable): its label, whether a source would read it, and why not.");
  m.def("names_without_channel", &names_without_channel, py::arg("labels"), py::arg("names"),
        "Of names of channels, those that mean none of a recording's labels.");
  m.def("microvolts", &microvolts, py::arg("unit"), "µV in one unit, in any spelling; None for what is no voltage.");
  m.def(
      "read_recording",
      [](const std::string& path, std::vector<std::string> use, std::vector<std::string> exclude, std::map<std::string, std::string> units, double seconds) {
        const py::gil_scoped_release release;
        std::vector<std::string> notes;
        const auto recording =
            open_recording(path, std::make_shared<FileCache>(1), notes, {std::move(use), std::move(exclude), std::move(units)}, Spans::kStored);
        const auto channels = static_cast<std::int64_t>(recording->channels().size());
        std::vector<std::size_t> all(recording->channels().size());
        std::iota(all.begin(), all.end(), std::size_t{0});
        std::vector<at::Tensor> parts{at::empty({channels, 0}, at::kFloat)};
        std::int64_t stored = 0, left = std::llround(seconds * recording->sfreq());
        for (const auto& stretch : recording->stretches()) {
          const auto n = std::min(left, stretch.last - stretch.first);
          stored += stretch.last - stretch.first, left -= n;
          recording->read(all, stretch.first, stretch.first + n, parts.emplace_back(at::empty({channels, n}, at::kFloat)).data_ptr<float>());
        }
        return std::make_tuple(recording->channels(), recording->sfreq(), static_cast<double>(stored) / recording->sfreq(), at::cat(parts, 1));
      },
      py::arg("path"), py::arg("use") = std::vector<std::string>{}, py::arg("exclude") = std::vector<std::string>{},
      py::arg("units") = std::map<std::string, std::string>{}, py::arg("seconds") = 600.0,
      "Of the EEG channels that a source would read: names, Hz, s that are stored, and the first `seconds` of them, [channels, samples] in µV.");
  m.def(
      "recording_signals",
      [](const std::string& path) {
        std::vector<std::tuple<std::string, std::string, double, bool>> found;
        const py::gil_scoped_release release;
        for (const auto& s : signals_of(path)) found.emplace_back(s.label, s.unit, s.sfreq, s.readable);
        return found;
      },
      py::arg("path"), "All signals of a file: label, unit, Hz, and whether it has a physical scale.");
  m.def(
      "recording_annotations",
      [](const py::bytes& file) {
        const std::string path = file;
        std::vector<std::tuple<double, double, std::string>> found;
        std::vector<std::string> notes;
        const py::gil_scoped_release release;
        for (auto& one : io::open_signals(path)->annotations(notes)) found.emplace_back(one.onset, one.duration.value_or(0), std::move(one.text));
        return std::make_tuple(found, notes);
      },
      py::arg("path"), "All annotations of a file: onset in s, duration in s, text; and what of them was left out.");
  m.def(
      "typical_amplitude",
      [](const std::string& path, std::vector<std::string> use, std::vector<std::string> exclude, std::map<std::string, std::string> units) {
        const py::gil_scoped_release release;
        std::vector<std::string> notes;
        return typical_amplitude(*open_recording(path, std::make_shared<FileCache>(1), notes, {std::move(use), std::move(exclude), std::move(units)}));
      },
      py::arg("path"), py::arg("use") = std::vector<std::string>{}, py::arg("exclude") = std::vector<std::string>{},
      py::arg("units") = std::map<std::string, std::string>{}, "Median over a file's channels of their standard deviation in µV, over 2 s in the middle.");
  m.def(
      "recording_info",
      [](const std::string& path, std::vector<std::string> use, std::vector<std::string> exclude, std::map<std::string, std::string> units, double flat_gap) {
        std::vector<std::string> notes;
        std::unique_ptr<Recording> recording;
        {
          const py::gil_scoped_release release;
          recording =
              open_recording(path, std::make_shared<FileCache>(1), notes, {std::move(use), std::move(exclude), std::move(units)}, Spans::kUsable, flat_gap);
        }
        std::vector<std::pair<std::int64_t, std::int64_t>> stretches;
        for (const auto& stretch : recording->stretches()) stretches.emplace_back(stretch.first, stretch.last);
        return std::make_tuple(recording->channels(), recording->sfreq(), stretches, notes);
      },
      py::arg("path"), py::arg("use") = std::vector<std::string>{}, py::arg("exclude") = std::vector<std::string>{},
      py::arg("units") = std::map<std::string, std::string>{}, py::arg("flat_gap") = kFlatGap,
      "Of the EEG channels that a source would read from this file: names, Hz, stretches of samples without a gap, and what was salvaged.");

  auto bound = bind_options<EegOptions>(m, "EegOptions", "How windows are read (modalities/eeg/eeg_source.h).");
  bound.def_readwrite("modality", &EegOptions::modality)
      .def_readwrite("sfreq", &EegOptions::sfreq)
      .def_readwrite("window", &EegOptions::window)
      .def_readwrite("stride", &EegOptions::stride)
      .def_readwrite("jitter", &EegOptions::jitter)
      .def_readwrite("l_freq", &EegOptions::l_freq)
      .def_readwrite("h_freq", &EegOptions::h_freq)
      .def_readwrite("order", &EegOptions::order)
      .def_readwrite("notch", &EegOptions::notch)
      .def_readwrite("margin", &EegOptions::margin)
      .def_readwrite("average_reference", &EegOptions::average_reference)
      .def_readwrite("clip", &EegOptions::clip)
      .def_readwrite("unit", &EegOptions::unit)
      .def_readwrite("flat_gap", &EegOptions::flat_gap)
      .def_readwrite("montage", &EegOptions::montage)
      .def_property(
          "channels", [](const EegOptions& self) { return self.choice.use; },
          [](EegOptions& self, std::vector<std::string> names) { self.choice.use = std::move(names); })
      .def_property(
          "exclude", [](const EegOptions& self) { return self.choice.exclude; },
          [](EegOptions& self, std::vector<std::string> names) { self.choice.exclude = std::move(names); });
  using transforms::Scaling;
  def_choice(bound, "scale", &EegOptions::scaling, Choices<Scaling>{{"none", Scaling::kNone}, {"zscore", Scaling::kZScore}, {"robust", Scaling::kRobust}});
  def_choice(bound, "align", &EegOptions::align, Choices<bool>{{"none", false}, {"subject", true}});
  py::class_<EegSource, data::Source, std::shared_ptr<EegSource>>(m, "EegSource")
      .def(py::init(&make_source), py::arg("recordings"), py::arg("options"), py::arg("extra_channels") = std::vector<std::string>{},
           py::arg("targets") = TargetColumns{})
      .def(
          "sample",
          [](const EegSource& source, std::int64_t index, std::uint64_t seed, std::uint64_t epoch) {
            const py::gil_scoped_release release;
            const auto sample = source.sample(index, {seed, epoch, static_cast<std::uint64_t>(index)});
            const auto& array = sample.arrays.front();
            const auto& from = std::get<std::vector<float>>(array.values);
            auto values = at::empty(array.shape, at::kFloat);
            std::copy(from.begin(), from.end(), values.data_ptr<float>());
            const auto& places = std::get<data::ChannelSpace>(array.space).positions;
            auto positions = at::empty({static_cast<std::int64_t>(places.size()), 3}, at::kFloat);
            float* at = positions.data_ptr<float>();
            for (const auto& p : places) at = std::copy(p.begin(), p.end(), at);
            return std::make_tuple(values, positions);
          },
          py::arg("index"), py::arg("seed") = 0, py::arg("epoch") = 0)
      .def_static("indexed", &make_indexed_source, py::kw_only(), py::arg("origins"), py::arg("montage_codes"), py::arg("montages"), py::arg("samples"),
                  py::arg("gappy"), py::arg("options"), py::arg("extra_channels"), py::arg("targets") = TargetColumns{}, py::arg("parts") = false,
                  py::arg("unit_codes") = py::none(), py::arg("units") = std::vector<std::map<std::string, std::string>>{},
                  "Of recordings that an index describes; none is opened. parts: its rows are parts of recordings.");
  m.def(
      "head_regions", [] { return train::Pooling{train::Pooling::Kind::kRegions, kRegions, head_regions}; },
      "Pooling by six regions of the head: left, middle and right, front and back.");
}

}  // namespace sslmed::bindings
