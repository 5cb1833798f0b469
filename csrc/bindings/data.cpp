#include <ATen/Functions.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "bindings/columns.h"
#include "core/error.h"
#include "data/eeg_source.h"
#include "data/loader.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::data;

transforms::Scaling scaling_of(const std::string& name) {
  if (name == "none") return transforms::Scaling::kNone;
  if (name == "zscore") return transforms::Scaling::kZScore;
  if (name == "robust") return transforms::Scaling::kRobust;
  throw ValueError("scale must be 'none', 'zscore' or 'robust', got '" + name + "'");
}

OnError on_error_of(const std::string& name) {
  if (name == "raise") return OnError::kRaise;
  if (name == "skip") return OnError::kSkip;
  throw ValueError("on_error must be 'raise' or 'skip', got '" + name + "'");
}

// What Python knows of a recording: a path, or an array [channels, samples] in µV.
struct Spec {
  std::string name;
  std::optional<at::Tensor> values;
  double sfreq = 0;
  std::vector<std::string> channels;
  std::string subject, site;
};

std::shared_ptr<EegSource> make_source(const std::vector<Spec>& specs, const EegOptions& options, const std::vector<std::string>& extra_channels,
                                       TargetColumns targets) {
  std::shared_ptr<EegSource> source;
  std::vector<std::string> notes;
  {
    const py::gil_scoped_release release;
    const auto cache = std::make_shared<EdfCache>();
    std::vector<RecordingEntry> entries;
    for (const auto& spec : specs) {
      std::shared_ptr<const Recording> recording;
      if (spec.values) {
        const auto owner = std::make_shared<at::Tensor>(spec.values->to(at::kCPU, at::kFloat).contiguous());
        if (owner->dim() != 2 || owner->size(0) != static_cast<std::int64_t>(spec.channels.size()))
          throw ValueError(spec.name + ": values must be [channels, samples] with one name a channel");
        recording = array_recording(spec.name, owner->const_data_ptr<float>(), owner->size(1), spec.sfreq, spec.channels, owner);
      } else {
        recording = open_recording(spec.name, cache, notes);
      }
      entries.push_back({std::move(recording), spec.subject, spec.site});
    }
    source = std::make_shared<EegSource>(open_list(std::move(entries)), options, extra_channels, std::move(targets));
    notes.insert(notes.end(), source->notes().begin(), source->notes().end());
  }
  warn(notes);
  return source;
}

std::shared_ptr<EegSource> make_indexed_source(const OriginColumns& origins, const at::Tensor& montage_codes,
                                               const std::vector<std::pair<double, std::vector<std::string>>>& montages, const at::Tensor& samples,
                                               const std::map<std::int64_t, std::vector<std::pair<std::int64_t, std::int64_t>>>& gappy,
                                               const EegOptions& options, const std::vector<std::string>& extra_channels, TargetColumns targets) {
  RecordingIndex index;
  index.origins = origins_of(origins);
  index.montage_codes = numbers<std::int32_t>(montage_codes);
  for (const auto& [sfreq, channels] : montages) index.montages.push_back({sfreq, channels});
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

}  // namespace

data::MaskMode mask_of(const std::string& name) {
  if (name == "none") return data::MaskMode::kNone;
  if (name == "random") return data::MaskMode::kRandom;
  if (name == "time") return data::MaskMode::kTime;
  if (name == "channel") return data::MaskMode::kChannel;
  if (name == "bernoulli") return data::MaskMode::kBernoulli;
  if (name == "space") return data::MaskMode::kSpace;
  if (name == "multiblock") return data::MaskMode::kMultiblock;
  if (name == "multiblock_exact") return data::MaskMode::kMultiblockExact;
  TORCH_CHECK_VALUE(false, "mask must be 'none', 'random', 'bernoulli', 'time', 'channel', 'space', 'multiblock' or 'multiblock_exact', got '", name, "'");
}

void bind_data(py::module_& m) {
  py::class_<data::Recipe, std::shared_ptr<data::Recipe>>(m, "Recipe")
      .def("__deepcopy__", [](const py::object& self, const py::object&) { return self; }, py::arg("memo"), "Itself: it never changes.");
  py::class_<data::PatchRecipe, data::Recipe, std::shared_ptr<data::PatchRecipe>>(m, "PatchRecipe")
      .def(py::init([](std::int64_t patch, const std::string& mask, double ratio, std::int32_t block, double radius, bool complementary, std::int64_t overlap) {
             return std::make_shared<data::PatchRecipe>(data::PatchRecipeOptions{patch, mask_of(mask), ratio, block, radius, complementary, overlap});
           }),
           py::arg("patch"), py::arg("mask") = "none", py::arg("ratio") = 0.5, py::arg("block") = 2, py::arg("radius") = 30.0, py::arg("complementary") = false,
           py::arg("overlap") = 0);

  py::class_<Spec>(m, "RecordingSpec")
      .def(py::init([](std::string name, std::optional<at::Tensor> values, double sfreq, std::vector<std::string> channels, std::string subject,
                       std::string site) { return Spec{std::move(name), std::move(values), sfreq, std::move(channels), std::move(subject), std::move(site)}; }),
           py::arg("name"), py::arg("values") = py::none(), py::arg("sfreq") = 0.0, py::arg("channels") = std::vector<std::string>{}, py::arg("subject") = "",
           py::arg("site") = "");
  m.def(
      "trim_memory",
      [] {
#ifdef __GLIBC__
        malloc_trim(0);
#endif
      },
      "Gives freed memory back to the system; after columns of a million entries that is as much as the cohort itself.");
  m.def(
      "recording_info",
      [](const std::string& path) {
        std::vector<std::string> notes;
        std::unique_ptr<Recording> recording;
        {
          const py::gil_scoped_release release;
          recording = open_recording(path, std::make_shared<EdfCache>(1), notes);
        }
        std::vector<std::pair<std::int64_t, std::int64_t>> stretches;
        for (const auto& stretch : recording->stretches()) stretches.emplace_back(stretch.first, stretch.last);
        return std::make_tuple(recording->channels(), recording->sfreq(), stretches, notes);
      },
      py::arg("path"), "Of the EEG channels that a source would read from this file: names, Hz, stretches of samples without a gap, and what was salvaged.");

  py::class_<EegOptions>(m, "EegOptions")
      .def(py::init([](double sfreq, double window, double stride, bool jitter, double low, double high, int order, double notch, double margin,
                       bool average_reference, const std::string& scale, double clip, double unit, const std::string& align) {
             if (align != "none" && align != "subject") throw ValueError("align must be 'none' or 'subject', got '" + align + "'");
             return EegOptions{sfreq, window, stride, jitter, low, high, order, notch, margin, average_reference, scaling_of(scale), clip, align == "subject",
                               unit};
           }),
           py::kw_only(), py::arg("sfreq"), py::arg("window"), py::arg("stride"), py::arg("jitter"), py::arg("low"), py::arg("high"), py::arg("order"),
           py::arg("notch"), py::arg("margin"), py::arg("average_reference"), py::arg("scale"), py::arg("clip"), py::arg("unit"), py::arg("align"));
  py::class_<SampleInfo>(m, "SampleInfo")
      .def_readonly("subject", &SampleInfo::subject)
      .def_readonly("site", &SampleInfo::site)
      .def_readonly("file", &SampleInfo::file)
      .def_readonly("recording", &SampleInfo::recording)
      .def_readonly("start", &SampleInfo::start)
      .def_readonly("duration", &SampleInfo::duration)
      .def_readonly("x", &SampleInfo::x)
      .def_readonly("y", &SampleInfo::y);
  py::class_<Source, std::shared_ptr<Source>>(m, "Source")
      .def("__len__", &Source::size)
      .def("describe", &Source::describe, py::arg("index"))
      .def_property_readonly(
          "recording_of",
          [](const Source& source) {
            const auto first = source.first_samples();
            auto out = at::empty({first.back()}, at::kLong);
            auto* to = out.data_ptr<std::int64_t>();
            for (std::size_t r = 0; r + 1 < first.size(); ++r) std::fill(to + first[r], to + first[r + 1], static_cast<std::int64_t>(r));
            return out;
          },
          "[n] int64: the recording (or slide) of each sample.");
  py::class_<EegSource, Source, std::shared_ptr<EegSource>>(m, "EegSource")
      .def(py::init(&make_source), py::arg("recordings"), py::arg("options"), py::arg("extra_channels") = std::vector<std::string>{},
           py::arg("targets") = TargetColumns{})
      .def(
          "sample",
          [](const EegSource& source, std::int64_t index, std::uint64_t seed, std::uint64_t epoch) {
            const py::gil_scoped_release release;
            const auto sample = source.sample(index, {seed, epoch, static_cast<std::uint64_t>(index)});
            auto values = at::empty(sample.shape, at::kFloat);
            std::copy(sample.values.begin(), sample.values.end(), values.data_ptr<float>());
            auto positions = at::empty({static_cast<std::int64_t>(sample.space.positions.size()), 3}, at::kFloat);
            float* at = positions.data_ptr<float>();
            for (const auto& p : sample.space.positions) at = std::copy(p.begin(), p.end(), at);
            return std::make_tuple(values, positions);
          },
          py::arg("index"), py::arg("seed") = 0, py::arg("epoch") = 0)
      .def_static("indexed", &make_indexed_source, py::kw_only(), py::arg("origins"), py::arg("montage_codes"), py::arg("montages"), py::arg("samples"),
                  py::arg("gappy"), py::arg("options"), py::arg("extra_channels"), py::arg("targets") = TargetColumns{},
                  "Of recordings that an index describes; none is opened.");

  py::class_<Sampler, std::shared_ptr<Sampler>>(m, "Sampler")
      .def(py::init([](const Source& source, const std::string& order, std::int64_t batch_size, bool drop_last, std::uint64_t seed,
                       const std::optional<at::Tensor>& groups) {
             const bool in_groups = order == "groups";
             if (order != "sequential" && order != "shuffle" && !in_groups)
               throw ValueError("order must be 'sequential', 'shuffle' or 'groups', got '" + order + "'");
             if (in_groups != groups.has_value()) throw ValueError("order 'groups', and no other, takes the group of each recording");
             return std::make_shared<Sampler>(source.size(),
                                              in_groups            ? Order::kGroup
                                              : order == "shuffle" ? Order::kShuffle
                                                                   : Order::kSequential,
                                              batch_size, drop_last, seed,
                                              in_groups ? group_runs(source.first_samples(), numbers<std::int32_t>(*groups)) : GroupRuns{});
           }),
           py::arg("source"), py::arg("order"), py::arg("batch_size"), py::arg("drop_last"), py::arg("seed"), py::arg("groups") = py::none())
      .def_property_readonly("batches_per_epoch", &Sampler::batches_per_epoch)
      .def(
          "batch",
          [](const Sampler& sampler, std::uint64_t number) {
            std::vector<std::int64_t> out;
            for (const auto& pick : sampler.batch(number)) out.push_back(pick.sample);
            return out;
          },
          py::arg("number"));

  py::class_<PatchBatch>(m, "PatchBatch", "Views of one role and embedding, packed: row i of every tensor is one token.")
      .def_readonly("role", &PatchBatch::role)
      .def_readonly("embedding", &PatchBatch::embedding)
      .def_property_readonly(
          "values", [](const PatchBatch& b) { return b.values; }, "[ΣN, P] float32, or uint8 of pictures")
      .def_property_readonly(
          "coords", [](const PatchBatch& b) { return b.coords; }, "[ΣN, 4] float32: x, y, z in mm, t in s")
      .def_property_readonly(
          "grid", [](const PatchBatch& b) { return b.grid; }, "[ΣN, 2] int32: channel and step, or row and column")
      .def_property_readonly(
          "extra", [](const PatchBatch& b) { return b.extra; }, "[ΣN] int64: row of the learned channel table, or -1")
      .def_property_readonly("keep", [](const PatchBatch& b) { return b.keep.defined() ? std::optional(b.keep) : std::nullopt; })
      .def_property_readonly("masked", [](const PatchBatch& b) { return b.masked.defined() ? std::optional(b.masked) : std::nullopt; })
      .def_readonly("lengths", &PatchBatch::lengths)
      .def_readonly("keep_lengths", &PatchBatch::keep_lengths)
      .def_readonly("masked_lengths", &PatchBatch::masked_lengths)
      .def_readonly("blocks", &PatchBatch::blocks)
      .def_readonly("slots", &PatchBatch::slots);
  py::class_<Batch>(m, "Batch")
      .def_readonly("number", &Batch::number)
      .def_readonly("sample_ids", &Batch::sample_ids)
      .def_readonly("patches", &Batch::patches)
      .def_property_readonly(
          "targets", [](const Batch& b) { return b.targets; }, "By name, [B] float64 in the order of sample_ids; NaN where a sample has none.")
      .def("__len__", &Batch::samples);
  py::class_<Loader, std::shared_ptr<Loader>>(m, "Loader", "Batches in order, made by C++ threads.")
      .def(py::init([](std::shared_ptr<const Source> source, std::shared_ptr<const Recipe> recipe, std::shared_ptr<const Sampler> sampler, unsigned threads,
                       unsigned prefetch, const std::string& on_error, std::uint64_t first, std::uint64_t end, unsigned rank, unsigned ranks) {
             return std::make_shared<Loader>(std::move(source), std::move(recipe), std::move(sampler),
                                             LoaderOptions{threads, prefetch, on_error_of(on_error), first, end, rank, ranks});
           }),
           py::arg("source"), py::arg("recipe"), py::arg("sampler"), py::arg("threads") = 1, py::arg("prefetch") = 2, py::arg("on_error") = "raise",
           py::arg("first") = 0, py::arg("end") = 0, py::arg("rank") = 0, py::arg("ranks") = 1)
      .def(
          "next",
          [](Loader& loader) {
            auto batch = loader.next();
            // Nobody has said which device: what was put off is done here.
            if (batch)
              for (auto& view : batch->patches)
                if (view.deferred.pictures.defined()) view = view.to(at::kCPU);
            return batch;
          },
          py::call_guard<py::gil_scoped_release>(), "The next batch, or None after the last.")
      .def_property_readonly("position", &Loader::position)
      .def_property_readonly("failures", [](const Loader& loader) {
        std::vector<std::pair<std::int64_t, std::string>> out;
        for (const auto& failure : loader.failures()) out.emplace_back(failure.sample, failure.message);
        return out;
      });
}

}  // namespace sslmed::bindings
