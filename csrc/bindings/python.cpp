// Encoders and objectives written in Python, as the loop sees them. Every call takes the interpreter lock: this is for trying an idea out.

#include <ATen/Functions.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/python_variable.h>

#include <utility>

#include "bindings/mirror.h"
#include "methods/objective.h"

namespace sslmed::bindings {
namespace {

// The leaves of a torch.nn.Module become those of `module`, by the same names and without a copy.
void adopt(torch::nn::Module& module, const py::object& source) {
  const auto owner = [&](const std::string& name) -> std::pair<torch::nn::Module*, std::string> {
    auto* at = &module;
    std::size_t begin = 0;
    for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', begin)) {
      const auto part = name.substr(begin, dot - begin);
      const auto children = at->named_children();
      const auto* known = children.find(part);
      at = known ? known->get() : at->register_module(part, std::make_shared<torch::nn::Module>()).get();
      begin = dot + 1;
    }
    return {at, name.substr(begin)};
  };
  for (const auto& item : source.attr("named_parameters")()) {
    const auto [name, tensor] = item.cast<std::pair<std::string, at::Tensor>>();
    const auto [at, leaf] = owner(name);
    at->register_parameter(leaf, tensor, tensor.requires_grad());
  }
  for (const auto& item : source.attr("named_buffers")()) {
    const auto [name, tensor] = item.cast<std::pair<std::string, at::Tensor>>();
    const auto [at, leaf] = owner(name);
    at->register_buffer(leaf, tensor);
  }
}

// A Python object that may be let go of in any thread.
class Held {
 public:
  explicit Held(py::object object) : object_(std::move(object)) {}
  ~Held() {
    const py::gil_scoped_acquire acquire;
    object_ = py::object();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  const py::object& operator*() const { return object_; }

 private:
  py::object object_;
};

std::string type_name(const py::handle& object) { return py::str(py::type::of(object).attr("__name__")); }

py::object or_none(const at::Tensor& tensor) { return tensor.defined() ? py::cast(tensor) : py::none(); }

class PythonEncoder : public nn::Encoder {
 public:
  PythonEncoder(const py::object& self, std::int64_t dim) : self_(self) {
    TORCH_CHECK_VALUE(dim > 0, "dim must be at least 1, got ", dim);
    shape_.dim = dim;
    adopt(*this, self);
    TORCH_CHECK_VALUE(!parameters().empty(), "an encoder needs a parameter at least");
  }

  nn::EncoderShape shape() const override { return shape_; }

  nn::Features forward_view(const nn::Input& view, const nn::Context& context) const override {
    TORCH_CHECK_VALUE(!context.drop_path.defined(), "drop_path: an encoder written in Python has no residual branches that the loop could drop");
    const py::gil_scoped_acquire acquire;
    nn::Features out;
    if (const auto* dense = std::get_if<nn::DenseInput>(&view)) {
      // [B, D, spatial…], or [B, D] of networks that pool by themselves.
      auto map = asked("encode_dense", dense->values);
      TORCH_CHECK_VALUE(map.dim() >= 2 && map.size(0) == dense->size() && map.size(1) == shape_.dim, "encode_dense must return [", dense->size(), ", ",
                        shape_.dim, ", …], got ", map.sizes());
      if (map.dim() > 2) out.pyramid.push_back(map);
      const auto cells = map.reshape({map.size(0), shape_.dim, -1}).transpose(1, 2);
      out.lengths.assign(static_cast<std::size_t>(map.size(0)), cells.size(1));
      out.tokens = cells.flatten(0, 1);
      out.pooled = cells.mean(1);
      return out;
    }
    const auto& tokens = std::get<nn::PatchTokens>(view);
    out.tokens = asked("encode_tokens", tokens.values, tokens.lengths, or_none(tokens.coords), or_none(tokens.channel));
    TORCH_CHECK_VALUE(out.tokens.dim() == 2 && out.tokens.size(0) == tokens.values.size(0) && out.tokens.size(1) == shape_.dim, "encode_tokens must return [",
                      tokens.values.size(0), ", ", shape_.dim, "], got ", out.tokens.sizes());
    out.pooled = nn::mean_rows(out.tokens, tokens.lengths, 0);
    out.lengths = tokens.lengths;
    return out;
  }

  void train(bool on) override {
    nn::Encoder::train(on);
    const py::gil_scoped_acquire acquire;
    (*self_).attr("train")(on);
  }

 private:
  template <class... Args>
  at::Tensor asked(const char* method, Args&&... args) const {
    const py::object answer = (*self_).attr(method)(std::forward<Args>(args)...);
    if (!THPVariable_Check(answer.ptr())) throw py::type_error(std::string(method) + " must return a tensor, got " + type_name(answer));
    return answer.cast<at::Tensor>();
  }

  Held self_;
  nn::EncoderShape shape_;
};

class PythonObjective : public methods::Objective {
 public:
  PythonObjective(const py::object& self, std::shared_ptr<nn::Encoder> encoder, std::shared_ptr<const data::Recipe> recipe)
      : self_(self), encoder_(std::move(encoder)), recipe_(std::move(recipe)) {
    adopt(*this, self);
  }

  std::shared_ptr<const data::Recipe> recipe() const override { return recipe_; }
  std::shared_ptr<nn::Encoder> encoder() const override { return encoder_; }

  methods::Loss loss(const data::Batch& batch, const methods::Step& step) override {
    const py::gil_scoped_acquire acquire;
    const Handed handed(step);
    const py::object answer = (*self_).attr("loss")(data::Batch(batch), handed.step);
    methods::Loss loss;
    if (THPVariable_Check(answer.ptr())) {
      loss.total = answer.cast<at::Tensor>();
    } else if (py::isinstance<methods::Loss>(answer)) {
      loss = answer.cast<methods::Loss>();
    } else {
      throw py::type_error(type_name(*self_) + ".loss must return a tensor or a Loss, got " + type_name(answer));
    }
    TORCH_CHECK_VALUE(loss.total.dim() == 0, "a loss must be one number, got ", loss.total.sizes());
    TORCH_CHECK_VALUE(loss.total.requires_grad(), "the loss does not depend on any parameter that is trained");
    return loss;
  }

  at::Tensor absent(const methods::Step& step) override {
    const py::gil_scoped_acquire acquire;
    const Handed handed(step);
    if (py::hasattr(*self_, "absent")) (*self_).attr("absent")(handed.step);
    return Objective::absent(step);
  }

  std::vector<methods::ParameterGroup> parameter_groups() const override {
    const py::gil_scoped_acquire acquire;
    if (!py::hasattr(*self_, "parameter_groups")) return Objective::parameter_groups();
    const auto own = named_parameters();
    std::vector<methods::ParameterGroup> groups;
    for (const auto& item : (*self_).attr("parameter_groups")()) {
      methods::ParameterGroup group;
      std::tie(group.names, group.lr_scale, group.decay) = item.cast<std::tuple<std::vector<std::string>, double, bool>>();
      for (const auto& name : group.names) {
        const auto* found = own.find(name);
        TORCH_CHECK_VALUE(found != nullptr, "parameter_groups names '", name, "', which is no parameter");
        group.parameters.push_back(*found);
      }
      groups.push_back(std::move(group));
    }
    return groups;
  }

  void after_step(const methods::Step& step) override {
    const py::gil_scoped_acquire acquire;
    const Handed handed(step);
    if (py::hasattr(*self_, "after_step")) (*self_).attr("after_step")(handed.step);
  }

  void train(bool on) override {
    Objective::train(on);
    const py::gil_scoped_acquire acquire;
    (*self_).attr("train")(on);
  }

 private:
  // A step as Python sees it. One that is kept is alone afterwards: the ranks may be gone by then.
  struct Handed {
    explicit Handed(const methods::Step& of) : step(py::cast(of)) {}
    ~Handed() { step.cast<methods::Step&>().comm = &nn::Comm::alone(); }
    Handed(const Handed&) = delete;
    Handed& operator=(const Handed&) = delete;
    py::object step;
  };

  Held self_;
  std::shared_ptr<nn::Encoder> encoder_;
  std::shared_ptr<const data::Recipe> recipe_;
};

}  // namespace

void bind_python(py::module_& m) {
  using methods::Loss;
  using methods::Step;
  py::class_<Step>(m, "Step", "Where a run is, and its other ranks.")
      .def_readonly("number", &Step::number, "Optimiser steps done.")
      .def_readonly("total", &Step::total, "Of the whole run.")
      .def_property_readonly("rank", [](const Step& step) { return step.comm->rank(); })
      .def_property_readonly("ranks", [](const Step& step) { return step.comm->size(); })
      .def(
          "all_gather", [](const Step& step, const at::Tensor& rows) { return step.comm->all_gather(rows); }, py::arg("rows"),
          py::call_guard<py::gil_scoped_release>(), "[B_0 + B_1 + …, …] of all ranks, in their order, from [B, …]; with gradients. During loss() alone.");
  py::class_<Loss>(m, "Loss", "What an objective says of a batch.")
      .def(py::init([](const at::Tensor& total, double weight, const std::optional<at::Tensor>& features, const std::map<std::string, at::Tensor>& parts) {
             Loss loss;
             loss.total = total;
             loss.weight = weight;
             if (features) loss.features = features->detach();
             for (const auto& [name, value] : parts) loss.parts.emplace_back(name, value.detach());
             return loss;
           }),
           py::arg("total"), py::arg("weight") = 0.0, py::arg("features") = py::none(), py::arg("parts") = std::map<std::string, at::Tensor>{},
           "total: the mean to be minimised, []. weight: over so many terms; 0: the batch's samples. features: [B, D], watched for collapse. parts: to log.")
      .def_property_readonly("total", [](const Loss& loss) { return loss.total; })
      .def_readonly("weight", &Loss::weight);
  py::class_<PythonEncoder, nn::Encoder, std::shared_ptr<PythonEncoder>>(m, "PythonEncoder")
      .def(py::init<const py::object&, std::int64_t>(), py::arg("module"), py::arg("dim"));
  py::class_<PythonObjective, methods::Objective, std::shared_ptr<PythonObjective>>(m, "PythonObjective")
      .def(py::init([](const py::object& self, std::shared_ptr<nn::Encoder> encoder, const std::optional<std::shared_ptr<data::Recipe>>& recipe) {
             return std::make_shared<PythonObjective>(self, std::move(encoder), recipe.value_or(nullptr));
           }),
           py::arg("module"), py::arg("encoder"), py::arg("recipe") = py::none());
}

}  // namespace sslmed::bindings
