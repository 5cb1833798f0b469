#include "data/bags.h"

#include "bindings/loader.h"
#include "bindings/mirror.h"
#include "bindings/options.h"
#include "methods/survival.h"
#include "nn/aggregators.h"
#include "tasks/bags.h"

namespace sslmed::bindings {
void bind_bags(py::module_& m);

namespace {

using data::BagEntry;
using data::BagRecipe;
using data::BagSource;
using methods::Ties;
using nn::Aggregation;
using nn::Aggregator;
using nn::AggregatorConfig;
using tasks::BagTask;
using tasks::BagTaskOptions;
using tasks::Outcome;

const Choices<Ties>& tie_choices() {
  static const Choices<Ties> all{{"efron", Ties::kEfron}, {"breslow", Ties::kBreslow}};
  return all;
}

std::shared_ptr<BagSource> make_bag_source(const std::vector<std::string>& names, const std::vector<std::string>& subjects,
                                           const std::vector<std::vector<std::string>>& files, const std::map<std::string, std::vector<double>>& targets,
                                           std::int64_t max_rows) {
  TORCH_CHECK_VALUE(subjects.size() == names.size(), "BagSource: subjects has ", subjects.size(), " entries, expected ", names.size());
  TORCH_CHECK_VALUE(files.size() == names.size(), "BagSource: files has ", files.size(), " entries, expected ", names.size());
  for (const auto& [name, values] : targets)
    TORCH_CHECK_VALUE(values.size() == names.size(), "BagSource: targets['", name, "'] has ", values.size(), " entries, expected ", names.size());
  std::vector<BagEntry> entries;
  for (std::size_t i = 0; i < names.size(); ++i) {
    entries.push_back({names[i], subjects[i], "", files[i], {}});
    for (const auto& [name, values] : targets) entries.back().targets[name] = values[i];
  }
  return std::make_shared<BagSource>(std::move(entries), data::BagOptions{max_rows});
}

// Bags as Python hands them over: rows [ΣN, D], and where they stand.
nn::PatchTokens bags_of(const at::Tensor& values, const std::vector<std::int64_t>& lengths, const std::optional<at::Tensor>& grid,
                        const std::optional<at::Tensor>& extents) {
  auto out = tokens(nullptr, values, lengths, std::nullopt, std::nullopt);
  const auto n = static_cast<std::int64_t>(lengths.size());
  TORCH_CHECK_VALUE(grid.has_value() == extents.has_value(), "grid and extents must be given together");
  if (!grid) return out;
  TORCH_CHECK_VALUE(grid->dim() == 2 && grid->size(0) == values.size(0) && grid->size(1) == 2, "grid must be [", values.size(0), ", 2], got ", grid->sizes());
  TORCH_CHECK_VALUE(extents->dim() == 2 && extents->size(0) == n && extents->size(1) == 2, "extents must be [", n, ", 2], got ", extents->sizes());
  std::int64_t first = 0;
  for (std::int64_t b = 0; b < n; ++b) {
    const auto rows = lengths[static_cast<std::size_t>(b)];
    const auto own = grid->narrow(0, first, rows);
    const bool inside = own.ge(0).all().item<bool>() && own.lt((*extents)[b].to(own.device())).all().item<bool>();
    TORCH_CHECK_VALUE(inside, "grid of bag ", b, " must lie within its extents ", (*extents)[b][0].item<std::int64_t>(), " x ",
                      (*extents)[b][1].item<std::int64_t>());
    first += rows;
  }
  out.grid = *grid;
  out.extents = extents->cpu();
  return out;
}

void bind_aggregator(py::module_& m) {
  auto config = bind_options<AggregatorConfig>(m, "AggregatorConfig", "Of an encoder of bags (nn/aggregators.h).");
  config.def_readwrite("in_dim", &AggregatorConfig::in)
      .def_readwrite("hidden", &AggregatorConfig::hidden)
      .def_readwrite("attention", &AggregatorConfig::attention)
      .def_readwrite("branches", &AggregatorConfig::branches)
      .def_readwrite("heads", &AggregatorConfig::heads)
      .def_readwrite("depth", &AggregatorConfig::depth)
      .def_readwrite("landmarks", &AggregatorConfig::landmarks)
      .def_readwrite("iterations", &AggregatorConfig::iterations)
      .def_readwrite("residual", &AggregatorConfig::residual)
      .def_readwrite("seed", &AggregatorConfig::seed);
  def_choice(config, "kind", &AggregatorConfig::kind,
             Choices<Aggregation>{{"mean", Aggregation::kMean}, {"attention", Aggregation::kAttention}, {"transformer", Aggregation::kTransformer}});
  py::class_<Aggregator, nn::Encoder, std::shared_ptr<Aggregator>> aggregator(m, "Aggregator");
  aggregator.def(py::init(&nn::create_aggregator), py::arg("config"))
      .def(
          "forward",
          [](const Aggregator& self, const at::Tensor& values, const std::vector<std::int64_t>& lengths, const std::optional<at::Tensor>& grid,
             const std::optional<at::Tensor>& extents) {
            const py::gil_scoped_release release;
            const auto found = self.aggregate(bags_of(values, lengths, grid, extents));
            return std::make_tuple(found.pooled, found.attention);
          },
          py::arg("values"), py::arg("lengths"), py::arg("grid") = py::none(), py::arg("extents") = py::none());
  mirror(aggregator);
}

void bind_bag_task(py::module_& m) {
  auto options = bind_options<BagTaskOptions>(m, "BagTaskOptions", "Of a task learned from labels of bags (tasks/bags.h).");
  options.def_readwrite("target", &BagTaskOptions::target)
      .def_readwrite("event", &BagTaskOptions::event)
      .def_readwrite("classes", &BagTaskOptions::classes)
      .def_readwrite("class_weights", &BagTaskOptions::class_weights)
      .def_readwrite("label_smoothing", &BagTaskOptions::label_smoothing)
      .def_readwrite("mean", &BagTaskOptions::mean)
      .def_readwrite("scale", &BagTaskOptions::scale)
      .def_readwrite("dropout", &BagTaskOptions::dropout)
      .def_readwrite("instance_weight", &BagTaskOptions::instance_weight)
      .def_readwrite("instance_count", &BagTaskOptions::instance_count)
      .def_readwrite("subtyping", &BagTaskOptions::subtyping)
      .def_readwrite("seed", &BagTaskOptions::seed);
  def_choice(options, "outcome", &BagTaskOptions::outcome,
             Choices<Outcome>{{"classes", Outcome::kClasses}, {"value", Outcome::kValue}, {"survival", Outcome::kSurvival}});
  def_choice(options, "ties", &BagTaskOptions::ties, tie_choices());
  py::class_<BagTask, methods::Objective, std::shared_ptr<BagTask>> task(m, "BagTask");
  task.def(py::init<std::shared_ptr<Aggregator>, const BagTaskOptions&>(), py::arg("aggregator"), py::arg("options"))
      .def(
          "forward",
          [](const BagTask& self, const at::Tensor& values, const std::vector<std::int64_t>& lengths, const std::optional<at::Tensor>& grid,
             const std::optional<at::Tensor>& extents) {
            const py::gil_scoped_release release;
            const auto [out, found] = self.forward(bags_of(values, lengths, grid, extents));
            return std::make_tuple(out, found.attention);
          },
          py::arg("values"), py::arg("lengths"), py::arg("grid") = py::none(), py::arg("extents") = py::none())
      .def(
          "loss_of",
          [](const BagTask& self, const at::Tensor& values, const std::vector<std::int64_t>& lengths, const at::Tensor& target,
             const std::optional<at::Tensor>& event, const std::optional<at::Tensor>& grid, const std::optional<at::Tensor>& extents, double dropout,
             const std::vector<std::uint64_t>& seeds) {
            const py::gil_scoped_release release;
            const auto bags = bags_of(values, lengths, grid, extents);
            TORCH_CHECK_VALUE(target.dim() == 1 && target.size(0) == static_cast<std::int64_t>(lengths.size()), "target must be [", lengths.size(), "], got ",
                              target.sizes());
            return self.loss_of(bags, target, event.value_or(at::Tensor()), {dropout, seeds}).total;
          },
          py::arg("values"), py::arg("lengths"), py::arg("target"), py::arg("event") = py::none(), py::arg("grid") = py::none(),
          py::arg("extents") = py::none(), py::arg("dropout") = 0.0, py::arg("seeds") = std::vector<std::uint64_t>{});
  mirror(task);
  m.def(
      "bag_answers",
      [](const BagTask& self, data::Loader& loader) {
        const py::gil_scoped_release release;
        auto out = tasks::answers(self, loader);
        return std::make_tuple(out.values, out.sample_ids);
      },
      py::arg("task"), py::arg("loader"), "[n, outputs] float64 of every bag, and the bags' numbers.");
}

}  // namespace

void bind_bags(py::module_& m) {
  py::class_<BagSource, data::Source, std::shared_ptr<BagSource>>(m, "BagSource", "Bags of features in files (data/bags.h).")
      .def(py::init(&make_bag_source), py::kw_only(), py::arg("names"), py::arg("subjects"), py::arg("files"), py::arg("targets"), py::arg("max_rows") = 0);
  py::class_<BagRecipe, data::Recipe, std::shared_ptr<BagRecipe>>(m, "BagRecipe", "Every row of a bag is a token.").def(py::init<>());
  m.def(
      "cox",
      [](const at::Tensor& risk, const at::Tensor& time, const at::Tensor& event, const std::string& ties) {
        const auto how = choice(ties, tie_choices(), "ties");
        const py::gil_scoped_release release;
        return methods::cox(risk, time, event, how);
      },
      py::arg("risk"), py::arg("time"), py::arg("event"), py::arg("ties"));
  bind_aggregator(m);
  bind_bag_task(m);
}

}  // namespace sslmed::bindings
