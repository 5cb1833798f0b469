#include "nn/models.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <type_traits>
#include <utility>

#include "nn/cnn.h"
#include "nn/resnet.h"
#include "nn/sam.h"
#include "nn/swin.h"
#include "nn/unet.h"

namespace sslmed::nn {
namespace {

struct Model {
  const char* name;
  std::function<std::shared_ptr<DenseEncoder>(const ModelConfig&, ModelOptions&)> build;
};

const std::vector<Model>& model_table() {
  static const std::vector<Model> table{
      {"resnet10", build_resnet},  {"resnet18", build_resnet},   {"resnet34", build_resnet},  {"resnet50", build_resnet}, {"wide_resnet50_2", build_resnet},
      {"sam_vit_base", build_sam}, {"sam_vit_large", build_sam}, {"sam_vit_huge", build_sam}, {"swin_tiny", build_swin},  {"swin_small", build_swin},
      {"swin_base", build_swin},   {"convnet", build_convnet},   {"unet", build_unet},
  };
  return table;
}

std::size_t edits(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row.back();
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += std::string(out.empty() ? "'" : ", '") + name + "'";
  return out;
}

std::string suggestion(const std::string& given, const std::vector<std::string>& candidates) {
  const auto nearest = nearest_names(given, candidates);
  return nearest.empty() ? "expected one of " + listed(candidates) : "did you mean " + nearest + "?";
}

}  // namespace

std::string nearest_names(const std::string& given, const std::vector<std::string>& candidates) {
  const auto limit = std::max<std::size_t>(2, given.size() / 3);
  auto fewest = limit + 1;
  std::vector<std::string> nearest;
  for (const auto& candidate : candidates) {
    const auto distance = edits(given, candidate);
    if (distance < fewest) nearest.clear(), fewest = distance;
    if (distance == fewest && distance <= limit) nearest.push_back(candidate);
  }
  return listed(nearest);
}

const OptionValue* ModelOptions::find(const std::string& name) {
  known_.insert(name);
  const auto found = config_.options.find(name);
  return found == config_.options.end() ? nullptr : &found->second;
}

template <class Value>
Value ModelOptions::read(const std::string& name, Value otherwise, const char* expected) {
  const auto* given = find(name);
  if (given == nullptr) return otherwise;
  if (const auto* value = std::get_if<Value>(given)) return *value;
  if constexpr (std::is_same_v<Value, double>) {
    if (const auto* whole = std::get_if<std::int64_t>(given)) return static_cast<double>(*whole);
  }
  TORCH_CHECK_VALUE(false, config_.name, ": option ", name, " must be ", expected);
}

bool ModelOptions::flag(const std::string& name, bool otherwise) { return read<bool>(name, otherwise, "True or False"); }

std::int64_t ModelOptions::integer(const std::string& name, std::int64_t otherwise) { return read<std::int64_t>(name, otherwise, "a whole number"); }

std::int64_t ModelOptions::positive(const std::string& name, std::int64_t otherwise) {
  const auto value = integer(name, otherwise);
  TORCH_CHECK_VALUE(value > 0, config_.name, ": ", name, "=", value, " must be at least 1");
  return value;
}

double ModelOptions::number(const std::string& name, double otherwise) { return read<double>(name, otherwise, "a number"); }

std::string ModelOptions::choice(const std::string& name, const std::vector<std::string>& choices) {
  const auto value = read<std::string>(name, choices.front(), "a text");
  TORCH_CHECK_VALUE(std::find(choices.begin(), choices.end(), value) != choices.end(), config_.name, ": ", name, "='", value, "' must be one of ",
                    listed(choices));
  return value;
}

std::vector<std::int64_t> ModelOptions::integers(const std::string& name, std::vector<std::int64_t> otherwise) {
  const auto* given = find(name);
  if (given == nullptr) return otherwise;
  if (const auto* one = std::get_if<std::int64_t>(given)) return {*one};
  return read<std::vector<std::int64_t>>(name, {}, "a list of whole numbers");
}

std::vector<std::int64_t> ModelOptions::axes(const std::string& name, std::vector<std::int64_t> otherwise) {
  auto values = integers(name, std::move(otherwise));
  const auto rank = static_cast<std::size_t>(config_.rank);
  if (values.size() == 1) values.assign(rank, values[0]);
  TORCH_CHECK_VALUE(values.size() == rank, config_.name, ": ", name, " has ", values.size(), " numbers, expected one, or one for each of rank=", rank, " axes");
  for (const auto value : values) TORCH_CHECK_VALUE(value > 0, config_.name, ": ", name, "=", value, " must be at least 1");
  return values;
}

void ModelOptions::finish() const {
  const std::vector<std::string> known(known_.begin(), known_.end());
  for (const auto& [name, value] : config_.options)
    TORCH_CHECK_VALUE(known_.count(name) > 0, config_.name, ": unknown option '", name, "', ", suggestion(name, known));
}

std::shared_ptr<DenseEncoder> create_dense(const ModelConfig& config) {
  const auto& table = model_table();
  const auto model = std::find_if(table.begin(), table.end(), [&](const Model& row) { return config.name == row.name; });
  TORCH_CHECK_VALUE(model != table.end(), "name='", config.name, "' is not a dense encoder, ", suggestion(config.name, dense_names()));
  TORCH_CHECK_VALUE(config.rank >= 1 && config.rank <= 3, config.name, ": rank=", config.rank, " must be 1, 2 or 3");
  ModelOptions options(config);
  return model->build(config, options);
}

std::vector<std::string> dense_names() {
  std::vector<std::string> names;
  for (const auto& model : model_table()) names.emplace_back(model.name);
  return names;
}

}  // namespace sslmed::nn
