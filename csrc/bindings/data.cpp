#include <ATen/Functions.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "bindings/columns.h"
#include "bindings/loader.h"
#include "bindings/options.h"
#include "core/error.h"
#include "data/array_source.h"
#include "data/grid_recipe.h"
#include "data/joined.h"
#include "data/loader.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::data;
using masking::MaskOptions;
using masking::Mode;

std::optional<at::Tensor> maybe(const at::Tensor& tensor) { return tensor.defined() ? std::optional(tensor) : std::nullopt; }

// An attribute of views of one kind; None of the other's.
template <class Content, class Get>
auto of_kind(Get get) {
  return [get](const ViewBatch& view) -> std::optional<decltype(get(std::declval<const Content&>()))> {
    const auto* content = std::get_if<Content>(&view.content);
    if (content == nullptr) return std::nullopt;
    return get(*content);
  };
}

std::optional<at::Tensor> patch_tensor(const ViewBatch& view, at::Tensor PackedPatches::*member) {
  const auto* patches = std::get_if<PackedPatches>(&view.content);
  return patches == nullptr ? std::nullopt : maybe(patches->*member);
}

template <class T>
std::optional<T> of_mask(const ViewBatch& view, T PackedMask::*member) {
  return view.mask ? std::optional(*view.mask.*member) : std::nullopt;
}

void bind_views(py::module_& m) {
  py::class_<ViewBatch>(m, "ViewBatch",
                        "Views of one role, number and kind. Patches are packed: row i of every tensor is one token. Dense views are stacked: values [B, C, "
                        "spatial…], and what only patches have is None.")
      .def_readonly("role", &ViewBatch::role)
      .def_readonly("number", &ViewBatch::number)
      .def_readonly("slots", &ViewBatch::slots, "[B]: the place of each view's sample in the batch's sample_ids.")
      .def_property_readonly("is_dense", [](const ViewBatch& view) { return std::holds_alternative<StackedDense>(view.content); })
      .def_property_readonly(
          "modality",
          [](const ViewBatch& view) {
            const auto* patches = std::get_if<PackedPatches>(&view.content);
            return patches != nullptr ? patches->key.modality : std::get<StackedDense>(view.content).modality;
          },
          "The modality of the samples.")
      .def_property_readonly("patch", of_kind<PackedPatches>([](const PackedPatches& p) { return p.key.patch; }), "Cells of a patch along each axis.")
      .def_property_readonly(
          "values",
          [](const ViewBatch& view) {
            const auto* patches = std::get_if<PackedPatches>(&view.content);
            return patches != nullptr ? patches->values : std::get<StackedDense>(view.content).values;
          },
          "[ΣN, P] or [B, C, spatial…] float32, or uint8 of pictures.")
      .def_property_readonly(
          "coords", [](const ViewBatch& view) { return patch_tensor(view, &PackedPatches::coords); }, "[ΣN, 4] float32: x, y, z in mm, t in s.")
      .def_property_readonly(
          "grid", [](const ViewBatch& view) { return patch_tensor(view, &PackedPatches::grid); }, "[ΣN, rank] int32: the cell of each patch.")
      .def_property_readonly(
          "extents", [](const ViewBatch& view) { return patch_tensor(view, &PackedPatches::extents); }, "[B, rank] int32: cells of each view's whole grid.")
      .def_property_readonly(
          "extra", [](const ViewBatch& view) { return patch_tensor(view, &PackedPatches::extra); },
          "[ΣN] int64: row of the learned channel table, or -1; None where the modality has none.")
      .def_property_readonly("lengths", of_kind<PackedPatches>([](const PackedPatches& p) { return p.lengths; }), "[B]: patches of each view.")
      .def_property_readonly("spacing", of_kind<StackedDense>([](const StackedDense& d) { return d.spacing; }), "[B, rank] float64: mm; 0 where unknown.")
      .def_property_readonly(
          "visible", [](const ViewBatch& view) { return of_mask(view, &PackedMask::visible); }, "[ΣK] int64 rows that the mask leaves; None without a mask.")
      .def_property_readonly(
          "masked", [](const ViewBatch& view) { return of_mask(view, &PackedMask::masked); }, "[ΣM] int64 rows that the mask hides.")
      .def_property_readonly("visible_lengths", [](const ViewBatch& view) { return of_mask(view, &PackedMask::visible_lengths); })
      .def_property_readonly("masked_lengths", [](const ViewBatch& view) { return of_mask(view, &PackedMask::masked_lengths); })
      .def_property_readonly("blocks", [](const ViewBatch& view) { return of_mask(view, &PackedMask::blocks); })
      .def_readonly("targets", &ViewBatch::targets,
                    "By name, one tensor a view: label maps int32 [spatial…], points [n, rank + 1] and boxes [n, 2 rank + 1], whose last column is the class.");
  py::class_<Batch>(m, "Batch")
      .def_readonly("number", &Batch::number)
      .def_readonly("sample_ids", &Batch::sample_ids)
      .def_readonly("views", &Batch::views, "By role, number and kind.")
      .def_property_readonly(
          "targets", [](const Batch& b) { return b.targets; }, "By name, [B] float64 in the order of sample_ids; NaN where a sample has none.")
      .def("__len__", &Batch::samples);
}

void bind_recipes(py::module_& m) {
  auto mask = bind_options<MaskOptions>(m, "MaskOptions", "What is masked of a view (masking/masker.h).");
  def_choice(mask, "mask", &MaskOptions::mode,
             Choices<Mode>{{"none", Mode::kNone},
                           {"random", Mode::kRandom},
                           {"bernoulli", Mode::kBernoulli},
                           {"time", Mode::kTime},
                           {"channel", Mode::kChannel},
                           {"space", Mode::kSpace},
                           {"multiblock", Mode::kMultiblock},
                           {"multiblock_exact", Mode::kMultiblockExact},
                           {"block", Mode::kBlock}});
  mask.def_readwrite("ratio", &MaskOptions::ratio)
      .def_readwrite("block", &MaskOptions::block)
      .def_readwrite("radius", &MaskOptions::radius)
      .def_readwrite("complementary", &MaskOptions::complementary)
      .def_readwrite("ratio_high", &MaskOptions::ratio_high)
      .def_readwrite("p_mask", &MaskOptions::p_mask);
  py::class_<Recipe, std::shared_ptr<Recipe>>(m, "Recipe")
      .def("__deepcopy__", [](const py::object& self, const py::object&) { return self; }, py::arg("memo"), "Itself: it never changes.");
  bind_options<GridView>(m, "GridView", "One view that a GridRecipe makes (data/grid_recipe.h).")
      .def_readwrite("role", &GridView::role)
      .def_readwrite("count", &GridView::count)
      .def_readwrite("patch", &GridView::patch)
      .def_readwrite("crop", &GridView::crop)
      .def_readwrite("random", &GridView::random)
      .def_readwrite("p_flip", &GridView::p_flip)
      .def_readwrite("mask", &GridView::mask)
      .def_readwrite("mask_cell", &GridView::mask_cell);
  py::class_<GridRecipe, Recipe, std::shared_ptr<GridRecipe>>(m, "GridRecipe", "Views of arrays on a regular grid of any rank; targets follow.")
      .def(py::init<std::vector<GridView>>(), py::arg("views"));
  py::class_<JoinedRecipe, Recipe, std::shared_ptr<JoinedRecipe>>(m, "JoinedRecipe", "Asks the recipe of each sample's modality.")
      .def(py::init([](const std::map<std::string, std::shared_ptr<Recipe>>& recipes) {
             return std::make_shared<JoinedRecipe>(std::map<std::string, std::shared_ptr<const Recipe>>(recipes.begin(), recipes.end()));
           }),
           py::arg("recipes"));
}

std::shared_ptr<ArraySource> make_array_source(const std::string& modality, const std::vector<at::Tensor>& values, const std::vector<std::string>& names,
                                               const std::vector<std::string>& subjects, const std::vector<std::string>& sites,
                                               const std::vector<std::vector<double>>& spacing, const std::vector<py::dict>& targets) {
  for (const auto n : {names.size(), subjects.size(), sites.size(), spacing.size(), targets.size()})
    TORCH_CHECK_VALUE(n == values.size(), "ArraySource: every argument needs one entry for each of ", values.size(), " arrays, got ", n);
  std::vector<ArrayEntry> entries;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool bytes = values[i].scalar_type() == at::kByte;
    const auto owner = std::make_shared<at::Tensor>(values[i].to(at::kCPU, bytes ? at::kByte : at::kFloat).contiguous());
    ArrayEntry entry{names[i], subjects[i], sites[i], owner->sizes().vec(), {}, owner, spacing[i], {}};
    if (bytes) {
      entry.values = owner->const_data_ptr<std::uint8_t>();
    } else {
      entry.values = owner->const_data_ptr<float>();
    }
    for (const auto& [name, target] : targets[i]) entry.targets[name.cast<std::string>()] = target_of(target);
    entries.push_back(std::move(entry));
  }
  return std::make_shared<ArraySource>(modality, std::move(entries));
}

void bind_sources(py::module_& m) {
  py::class_<SampleInfo>(m, "SampleInfo")
      .def_readonly("subject", &SampleInfo::subject)
      .def_readonly("site", &SampleInfo::site)
      .def_readonly("file", &SampleInfo::file)
      .def_readonly("recording", &SampleInfo::recording)
      .def_property_readonly(
          "place",
          [](const SampleInfo& info) {
            std::map<std::string, double> out;
            for (const auto& place : info.place) out[place.name] = place.value;
            return out;
          },
          "Where the sample lies within its file, by name.")
      .def("__str__", &SampleInfo::text);
  py::class_<Source, std::shared_ptr<Source>>(m, "Source")
      .def("__len__", &Source::size)
      .def("describe", &Source::describe, py::arg("index"))
      .def_property_readonly(
          "counts", [](const Source& source) { return at::tensor(source.first_samples(), at::kLong).diff(); },
          "[rows] int64: the number of samples of each of the cohort's rows.")
      .def_property_readonly(
          "recording_of",
          [](const Source& source) {
            const auto first = source.first_samples();
            auto out = at::empty({first.back()}, at::kLong);
            auto* to = out.data_ptr<std::int64_t>();
            for (std::size_t r = 0; r + 1 < first.size(); ++r) std::fill(to + first[r], to + first[r + 1], static_cast<std::int64_t>(r));
            return out;
          },
          "[n] int64: the recording (the cohort's row) of each sample.");
  py::class_<ArraySource, Source, std::shared_ptr<ArraySource>>(m, "ArraySource", "Arrays [spatial…, channels] in memory, one a sample.")
      .def(py::init(&make_array_source), py::kw_only(), py::arg("modality"), py::arg("values"), py::arg("names"), py::arg("subjects"), py::arg("sites"),
           py::arg("spacing"), py::arg("targets"),
           "targets: a dict a sample; a number, ('map', None, classes [spatial…]), ('points', [n, rank], classes [n]) or ('boxes', [n, 2, rank], classes [n]), "
           "in cells.");
  py::class_<JoinedSource, Source, std::shared_ptr<JoinedSource>>(m, "JoinedSource", "Recordings out of several sources.")
      .def(py::init([](const std::vector<std::shared_ptr<Source>>& sources, const at::Tensor& part_of) {
             return std::make_shared<JoinedSource>(std::vector<std::shared_ptr<const Source>>(sources.begin(), sources.end()), numbers<std::int32_t>(part_of));
           }),
           py::arg("sources"), py::arg("part_of"), "part_of [recordings] int: the source of each recording; those of one source keep its order.");
  py::class_<Sampler, std::shared_ptr<Sampler>>(m, "Sampler")
      .def(py::init([](const Source& source, const std::string& order, std::int64_t batch_size, bool drop_last, std::uint64_t seed,
                       const std::optional<at::Tensor>& groups) {
             const auto chosen =
                 choice(order, Choices<Order>{{"sequential", Order::kSequential}, {"shuffle", Order::kShuffle}, {"groups", Order::kGroup}}, "order");
             if ((chosen == Order::kGroup) != groups.has_value()) throw ValueError("groups must be given with order='groups', and with no other");
             return std::make_shared<Sampler>(source.size(), chosen, batch_size, drop_last, seed,
                                              groups ? group_runs(source.first_samples(), numbers<std::int32_t>(*groups)) : GroupRuns{});
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
}

}  // namespace

OnError on_error_of(const std::string& name) { return choice(name, Choices<OnError>{{"raise", OnError::kRaise}, {"skip", OnError::kSkip}}, "on_error"); }

std::vector<std::pair<std::int64_t, std::string>> pairs_of(const std::vector<Failure>& failures) {
  std::vector<std::pair<std::int64_t, std::string>> out;
  for (const auto& failure : failures) out.emplace_back(failure.sample, failure.message);
  return out;
}

void bind_data(py::module_& m) {
  m.def(
      "trim_memory",
      [] {
#ifdef __GLIBC__
        malloc_trim(0);
#endif
      },
      "Gives freed memory back to the system; after columns of a million entries that is as much as the cohort itself.");
  bind_recipes(m);
  bind_sources(m);
  bind_views(m);
  py::class_<Loader, std::shared_ptr<Loader>>(m, "Loader", "Batches in order, made by C++ threads.")
      .def(
          "next",
          [](Loader& loader) {
            auto batch = loader.next();
            // Nobody has said which device: what was put off is done here.
            if (batch) {
              for (auto& view : batch->views) {
                const auto* patches = std::get_if<PackedPatches>(&view.content);
                if (patches != nullptr && patches->deferred) view = view.to(at::kCPU);
              }
            }
            return batch;
          },
          py::call_guard<py::gil_scoped_release>(), "The next batch, or None after the last.")
      .def_property_readonly("position", &Loader::position)
      .def_property_readonly("failures", [](const Loader& loader) { return pairs_of(loader.failures()); });
  py::class_<LoaderPlan, std::shared_ptr<LoaderPlan>>(m, "LoaderPlan", "What a loader is opened with, here or by a trainer.")
      .def(
          py::init([](std::shared_ptr<const Source> source, std::shared_ptr<const Sampler> sampler, const std::optional<std::shared_ptr<Recipe>>& recipe,
                      unsigned threads, unsigned prefetch, const std::string& on_error, std::uint64_t first, std::uint64_t end, unsigned rank, unsigned ranks) {
            return std::make_shared<LoaderPlan>(LoaderPlan{
                std::move(source), std::move(sampler), recipe.value_or(nullptr), {threads, prefetch, on_error_of(on_error), first, end, rank, ranks}});
          }),
          py::arg("source"), py::arg("sampler"), py::arg("recipe") = py::none(), py::kw_only(), py::arg("threads") = 1, py::arg("prefetch") = 2,
          py::arg("on_error") = "raise", py::arg("first") = 0, py::arg("end") = 0, py::arg("rank") = 0, py::arg("ranks") = 1)
      .def(
          "open",
          [](const LoaderPlan& plan) {
            return std::shared_ptr<Loader>(new Loader(plan.source, plan.recipe, plan.sampler, plan.options), [](Loader* loader) {
              if (loader->is_own()) delete loader;
            });
          },
          "Starts the threads.");
}

}  // namespace sslmed::bindings
