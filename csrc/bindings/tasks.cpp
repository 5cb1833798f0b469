#include "bindings/mirror.h"
#include "bindings/options.h"
#include "tasks/supervised.h"

namespace sslmed::bindings {

using tasks::Readout;
using tasks::Supervised;
using tasks::SupervisedOptions;
using tasks::Tuned;

void bind_tasks(py::module_& m) {
  auto bound = bind_options<SupervisedOptions>(m, "SupervisedOptions", "Of a task learned from labels (tasks/supervised.h).");
  bound.def_readwrite("target", &SupervisedOptions::target)
      .def_readwrite("classes", &SupervisedOptions::classes)
      .def_readwrite("class_weights", &SupervisedOptions::class_weights)
      .def_readwrite("label_smoothing", &SupervisedOptions::label_smoothing)
      .def_readwrite("mean", &SupervisedOptions::mean)
      .def_readwrite("scale", &SupervisedOptions::scale)
      .def_readwrite("readout_heads", &SupervisedOptions::readout_heads)
      .def_readwrite("layer_decay", &SupervisedOptions::layer_decay)
      .def_readwrite("drop_path", &SupervisedOptions::drop_path)
      .def_readwrite("groups", &SupervisedOptions::groups)
      .def_readwrite("group_step", &SupervisedOptions::group_step)
      .def_readwrite("domains", &SupervisedOptions::domains)
      .def_readwrite("domain_weight", &SupervisedOptions::domain_weight)
      .def_readwrite("seed", &SupervisedOptions::seed);
  def_choice(bound, "readout", &SupervisedOptions::readout,
             Choices<Readout>{{"mean", Readout::kMean}, {"cls", Readout::kClassToken}, {"attentive", Readout::kAttentive}});
  def_choice(bound, "tuned", &SupervisedOptions::tuned,
             Choices<Tuned>{{"encoder", Tuned::kEncoder}, {"adapters", Tuned::kAdapters}, {"nothing", Tuned::kNothing}});
  py::class_<Supervised, methods::Objective, std::shared_ptr<Supervised>> task(m, "Supervised");
  task.def(py::init([](std::shared_ptr<nn::Encoder> encoder, const SupervisedOptions& options, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
             return std::make_shared<Supervised>(std::move(encoder), options, recipe.value_or(nullptr));
           }),
           py::arg("encoder"), py::arg("options"), py::arg("recipe") = py::none())
      .def(
          "forward_tokens",
          [](const Supervised& self, const at::Tensor& values, const nn::Lengths& lengths, const std::optional<at::Tensor>& coords,
             const std::optional<at::Tensor>& extra, const std::optional<at::Tensor>& drop_path) {
            const py::gil_scoped_release release;
            nn::Context context;
            context.drop_path = drop_path.value_or(at::Tensor());
            return self.forward(tokens(nullptr, values, lengths, coords, extra), context);
          },
          py::arg("values"), py::arg("lengths"), py::arg("coords") = py::none(), py::arg("extra") = py::none(), py::arg("drop_path") = py::none())
      .def(
          "forward_dense",
          [](const Supervised& self, const at::Tensor& dense) {
            const py::gil_scoped_release release;
            return self.forward(nn::DenseInput{dense, {}});
          },
          py::arg("dense"));
  mirror(task);
}

}  // namespace sslmed::bindings
