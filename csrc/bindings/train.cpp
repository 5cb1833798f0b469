#include <chrono>
#include <optional>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "bindings/loader.h"
#include "bindings/options.h"
#include "core/error.h"
#include "train/encode.h"
#include "train/trainer.h"

namespace sslmed::bindings {
namespace {

using namespace sslmed::train;

// A trainer that knows for how long its loop held the interpreter lock.
struct PyTrainer : Trainer {
  using Trainer::Trainer;
  double gil_seconds = 0;
};

struct Stopwatch {
  explicit Stopwatch(double& into) : total(into) {}
  ~Stopwatch() { total += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
  double& total;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

// Calls Python with the interpreter lock, and lets it see signals: a Ctrl-C becomes KeyboardInterrupt here.
Report wrap(const py::object& callback, double& gil_seconds) {
  return [&callback, &gil_seconds](const std::vector<Record>& records) {
    const py::gil_scoped_acquire acquire;
    const Stopwatch held(gil_seconds);
    // Thrown after the callback has what happened: the checkpoint of an interrupted run must not know of more.
    std::optional<py::error_already_set> interrupt;
    if (PyErr_CheckSignals() != 0) interrupt.emplace();
    const auto go_on = [&](bool answer) { return interrupt ? throw *interrupt : answer; };
    if (callback.is_none()) return go_on(true);
    py::list rows;
    for (const auto& r : records) {
      py::dict row;
      row["step"] = r.step;
      row["epoch"] = r.epoch;
      row["loss"] = r.loss;
      row["lr"] = r.lr;
      row["grad_norm"] = r.grad_norm;
      row["feature_std"] = r.features.std;
      row["effective_rank"] = r.features.effective_rank;
      row["seconds"] = r.seconds;
      row["samples"] = r.samples;
      for (const auto& [name, value] : r.parts) row[py::str(name)] = value;
      rows.append(row);
    }
    const py::object answer = callback(rows);
    return go_on(answer.is_none() || answer.cast<bool>());
  };
}

}  // namespace

void bind_train(py::module_& m) {
  const Choices<Algorithm> algorithms{{"adamw", Algorithm::kAdamW}, {"lars", Algorithm::kLars}, {"lamb", Algorithm::kLamb}, {"sgd", Algorithm::kSgd}};
  bind_options<TrainOptions>(m, "TrainOptions", "Of the training loop (train/trainer.h).")
      .def_property(
          "optimizer",
          [algorithms](const TrainOptions& o) {
            for (const auto& [name, value] : algorithms)
              if (o.optimizer.algorithm == value) return std::string(name);
            return std::string();
          },
          [algorithms](TrainOptions& o, const std::string& v) { o.optimizer.algorithm = choice(v, algorithms, "optimizer"); })
      .def_property(
          "momentum", [](const TrainOptions& o) { return o.optimizer.momentum; }, [](TrainOptions& o, double v) { o.optimizer.momentum = v; })
      .def_readwrite("epochs", &TrainOptions::epochs)
      .def_readwrite("accumulate", &TrainOptions::accumulate)
      .def_readwrite("lr", &TrainOptions::lr)
      .def_readwrite("min_lr", &TrainOptions::min_lr)
      .def_readwrite("start_lr", &TrainOptions::start_lr)
      .def_readwrite("final_weight_decay", &TrainOptions::final_weight_decay)
      .def_readwrite("monitor_every", &TrainOptions::monitor_every)
      .def_readwrite("collapse_std", &TrainOptions::collapse_std)
      .def_readwrite("warmup_steps", &TrainOptions::warmup_steps)
      .def_property(
          "weight_decay", [](const TrainOptions& o) { return o.optimizer.weight_decay; }, [](TrainOptions& o, double v) { o.optimizer.weight_decay = v; })
      .def_property(
          "beta1", [](const TrainOptions& o) { return o.optimizer.beta1; }, [](TrainOptions& o, double v) { o.optimizer.beta1 = v; })
      .def_property(
          "beta2", [](const TrainOptions& o) { return o.optimizer.beta2; }, [](TrainOptions& o, double v) { o.optimizer.beta2 = v; })
      .def_readwrite("clip_norm", &TrainOptions::clip_norm)
      .def_readwrite("ema_decay", &TrainOptions::ema_decay)
      .def_readwrite("device", &TrainOptions::device)
      .def_readwrite("bf16", &TrainOptions::bf16)
      .def_readwrite("fp64", &TrainOptions::fp64)
      .def_readwrite("intra_op_threads", &TrainOptions::intra_op_threads)
      .def_readwrite("checkpoint_folder", &TrainOptions::checkpoint_folder)
      .def_readwrite("checkpoint_every", &TrainOptions::checkpoint_every)
      .def_readwrite("keep_last", &TrainOptions::keep_last)
      .def_readwrite("report_interval", &TrainOptions::report_interval)
      .def_readwrite("config", &TrainOptions::config);
  py::class_<Ranks, nn::Comm, std::shared_ptr<Ranks>>(m, "Ranks")
      .def(py::init([](const py::object& group) { return std::make_shared<Ranks>(group.cast<c10::intrusive_ptr<c10d::ProcessGroup>>()); }),
           py::arg("process_group"));
  py::class_<PyTrainer>(m, "Trainer")
      .def(py::init([](std::shared_ptr<methods::Objective> objective, const data::LoaderPlan& loader, const TrainOptions& options,
                       const std::optional<std::shared_ptr<Ranks>>& ranks) {
             return std::make_unique<PyTrainer>(std::move(objective), loader, options, ranks.value_or(nullptr));
           }),
           py::arg("objective"), py::arg("loader"), py::arg("options"), py::arg("ranks") = py::none())
      .def("resume", &Trainer::resume, py::arg("path"), py::call_guard<py::gil_scoped_release>())
      .def("save", &Trainer::save, py::call_guard<py::gil_scoped_release>())
      .def(
          "fit",
          [](PyTrainer& trainer, const py::object& callback, std::int64_t until) {
            const auto report = wrap(callback, trainer.gil_seconds);
            const py::gil_scoped_release release;
            return trainer.fit(report, until);
          },
          py::arg("callback") = py::none(), py::arg("until") = -1, "True when all steps until there were done, False when the callback asked to stop.")
      .def("seek", &Trainer::seek, py::arg("step"), "The next fit() starts at this step of the schedule.")
      .def_readonly("gil_seconds", &PyTrainer::gil_seconds)
      .def_property_readonly("step", &Trainer::step)
      .def_property_readonly("total_steps", &Trainer::total_steps)
      .def_property_readonly("failures", [](const PyTrainer& trainer) { return pairs_of(trainer.failures()); })
      .def("encoder_weights", &Trainer::encoder_weights);
  m.def(
      "feature_health",
      [](const at::Tensor& features) {
        TORCH_CHECK_VALUE(features.dim() == 2, "features must be [B, D], got ", features.sizes());
        const py::gil_scoped_release release;
        const auto health = feature_health(features);
        return std::make_pair(health.std, health.effective_rank);
      },
      py::arg("features"), "(standard deviation over samples relative to the features' size, effective rank) of [B, D].");
  py::class_<Pooling>(m, "Pooling", "How a sample's tokens become its features: by mean(), cls(), or a modality's regions.")
      .def_static("mean", [] { return Pooling{}; })
      .def_static("cls", [] { return Pooling{Pooling::Kind::kClassToken, 1, {}}; })
      .def_readonly("regions", &Pooling::regions);
  m.def(
      "encode",
      [](const nn::Encoder& encoder, data::Loader& loader, const Pooling& pooling) {
        const py::gil_scoped_release release;
        auto features = encode(encoder, loader, pooling);
        return std::make_tuple(features.values, features.sample_ids);
      },
      py::arg("encoder"), py::arg("loader"), py::arg("pooling"));
  m.def(
      "predict",
      [](const tasks::Supervised& task, data::Loader& loader) {
        const py::gil_scoped_release release;
        auto out = predict(task, loader);
        return std::make_tuple(out.values, out.sample_ids);
      },
      py::arg("task"), py::arg("loader"), "What a task's head says of every sample, and the samples' numbers.");
}

}  // namespace sslmed::bindings
