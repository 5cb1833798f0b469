// A run's state as files: checkpoints written, kept and resumed from.

#include <c10/core/GradMode.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "train/trainer.h"

namespace sslmed::train {
namespace {

constexpr const char* kFormat = "sslmed-checkpoint-1";

double number(const Metadata& metadata, const std::string& key, const std::string& path) {
  const auto found = metadata.find(key);
  double value = 0;
  if (found == metadata.end()) throw FormatError(path, "a checkpoint with '" + key + "'", "none");
  const auto* end = found->second.data() + found->second.size();
  if (std::from_chars(found->second.data(), end, value).ptr != end) throw FormatError(path, "a number as '" + key + "'", quote(found->second));
  return value;
}

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Of the names that step_name gives; other files beside them are somebody's own.
bool is_checkpoint(std::string_view name) {
  const std::string_view before = "step-", after = ".safetensors";
  return name.starts_with(before) && name.ends_with(after) && name.size() >= before.size() + after.size() + 9 &&
         is_digits(name.substr(before.size(), name.size() - before.size() - after.size()));
}

// What a killed process left half-written (AtomicFile): its number is in the name.
bool is_left_over(const std::string& name) {
  const std::string_view mark = ".safetensors.tmp-";
  const auto found = name.find(mark);
  if (found == std::string::npos) return false;
  const auto digits = name.substr(found + mark.size(), name.find('-', found + mark.size()) - found - mark.size());
  if (!is_digits(digits) || digits.size() > 9) return false;
  const auto process = static_cast<pid_t>(std::stol(digits));
  return process == ::getpid() || (::kill(process, 0) != 0 && errno == ESRCH);
}

std::string step_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  return "step-" + std::string(9 - std::min<std::size_t>(9, digits.size()), '0') + digits + ".safetensors";
}

}  // namespace

TensorMap Trainer::encoder_weights() const {
  TensorMap weights;
  for (const auto& item : objective_->encoder()->named_parameters()) weights[item.key()] = item.value().detach();
  for (const auto& item : objective_->encoder()->named_buffers()) weights[item.key()] = item.value().detach();
  for (std::size_t i = 0; i < average_.size(); ++i) weights[average_names_[i]] = average_[i];
  return weights;
}

std::string Trainer::write(const std::string& name) {
  TensorMap tensors;
  for (const auto& item : objective_->named_parameters()) tensors["model." + item.key()] = item.value();
  for (const auto& item : objective_->named_buffers()) tensors["model." + item.key()] = item.value();
  for (const auto& [key, tensor] : optimizer_->state()) tensors["optimizer." + key] = tensor;
  for (std::size_t i = 0; i < average_.size(); ++i) tensors["ema." + average_names_[i]] = average_[i];
  std::filesystem::create_directories(options_.checkpoint_folder);
  const std::string path = options_.checkpoint_folder + "/" + name;
  save_tensors(path, tensors,
               {{"format", kFormat},
                {"step", std::to_string(step_)},
                {"epoch_loss", exact_text(epoch_loss_)},
                {"best_loss", exact_text(best_loss_)},
                {"collapsed_looks", std::to_string(collapsed_looks_)},
                {"intra_op_threads", std::to_string(options_.intra_op_threads)},
                {"ranks", std::to_string(ranks_ ? ranks_->size() : 1)},
                {"config", options_.config}});
  return path;
}

std::string Trainer::save() {
  if (options_.checkpoint_folder.empty()) throw ValueError("Trainer: save() needs a folder: give checkpoints=");
  const std::string path = write(step_name(step_));
  rotate();
  return path;
}

void Trainer::rotate() const {
  std::vector<std::filesystem::path> kept, stale;
  for (const auto& entry : std::filesystem::directory_iterator(options_.checkpoint_folder)) {
    const auto name = entry.path().filename().string();
    if (is_checkpoint(name)) kept.push_back(entry.path());
    if (is_left_over(name)) stale.push_back(entry.path());
  }
  for (const auto& path : stale) std::filesystem::remove(path);
  std::sort(kept.begin(), kept.end());
  for (std::size_t i = 0; i + static_cast<std::size_t>(options_.keep_last) < kept.size(); ++i) std::filesystem::remove(kept[i]);
}

void Trainer::resume(const std::string& path) {
  Metadata metadata;
  const TensorMap tensors = load_tensors(path, &metadata);
  if (metadata["format"] != kFormat) throw FormatError(path, std::string("a checkpoint of format ") + kFormat, quote(metadata["format"]));
  if (metadata["config"] != options_.config)
    throw ValueError(path + ": was written by a run of another configuration: " + metadata["config"] + " where this one has " + options_.config);
  const c10::NoGradGuard guard;
  const auto restore = [&](const std::string& key, at::Tensor target) {
    const auto found = tensors.find(key);
    if (found == tensors.end() || found->second.sizes() != target.sizes())
      throw FormatError(path, "a tensor " + quote(key), found == tensors.end() ? "none" : "one of another shape");
    target.copy_(found->second);
  };
  for (const auto& item : objective_->named_parameters()) restore("model." + item.key(), item.value());
  for (const auto& item : objective_->named_buffers()) restore("model." + item.key(), item.value());
  for (std::size_t i = 0; i < average_.size(); ++i) restore("ema." + average_names_[i], average_[i]);
  std::map<std::string, at::Tensor> state;
  for (const auto& [key, tensor] : tensors)
    if (key.rfind("optimizer.", 0) == 0) state[key.substr(10)] = tensor;
  optimizer_->load(state);
  step_ = static_cast<std::int64_t>(number(metadata, "step", path));
  epoch_loss_ = number(metadata, "epoch_loss", path);
  best_loss_ = number(metadata, "best_loss", path);
  collapsed_looks_ = static_cast<int>(number(metadata, "collapsed_looks", path));
  // Sums in kernels depend on the number of threads; the same bits need the same number. Another number of ranks has other bits anyway.
  if (static_cast<int>(number(metadata, "ranks", path)) == (ranks_ ? ranks_->size() : 1))
    options_.intra_op_threads = static_cast<int>(number(metadata, "intra_op_threads", path));
}

}  // namespace sslmed::train
