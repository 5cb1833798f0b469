#pragma once
// Dense encoders by name.

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "nn/dense_encoder.h"

namespace sslmed::nn {

using OptionValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>>;

struct ModelConfig {
  std::string name;
  std::int64_t rank = 2, in_chans = 3, num_classes = 0;
  std::vector<double> pixel_mean, pixel_std;  // of each channel, for bytes as parts of 255; empty: 0 and 1
  std::uint64_t seed = 0;
  std::map<std::string, OptionValue> options;  // of the encoder's own

  DenseShape shape() const { return {rank, in_chans, num_classes, pixel_mean, pixel_std}; }
};

// Reads an encoder's options. ValueError that names an option of the wrong type, or one that nothing has asked for.
class ModelOptions {
 public:
  explicit ModelOptions(const ModelConfig& config) : config_(config) {}
  bool flag(const std::string& name, bool otherwise);
  std::int64_t integer(const std::string& name, std::int64_t otherwise);
  std::int64_t positive(const std::string& name, std::int64_t otherwise);
  double number(const std::string& name, double otherwise);
  // One of `choices`; the first is the default.
  std::string choice(const std::string& name, const std::vector<std::string>& choices);
  std::vector<std::int64_t> integers(const std::string& name, std::vector<std::int64_t> otherwise);
  // Positive numbers, one for each axis; a single number stands for all.
  std::vector<std::int64_t> axes(const std::string& name, std::vector<std::int64_t> otherwise);
  // After everything has been read.
  void finish() const;

 private:
  const OptionValue* find(const std::string& name);
  template <class Value>
  Value read(const std::string& name, Value otherwise, const char* expected);

  const ModelConfig& config_;
  std::set<std::string> known_;
};

// ValueError for an unknown name (with the nearest ones), an unknown option, or a number out of range.
std::shared_ptr<DenseEncoder> create_dense(const ModelConfig& config);
// Names that create_dense takes, in the order of the table.
std::vector<std::string> dense_names();

// The candidates with the fewest edits from `given`, in quotes; empty where none is near.
std::string nearest_names(const std::string& given, const std::vector<std::string>& candidates);

}  // namespace sslmed::nn
