#include "nn/tokens.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

namespace sslmed::nn {
namespace {

at::Tensor together(const std::vector<at::Tensor>& parts) { return parts.size() == 1 ? parts[0] : at::cat(parts); }

// A run's rows as [sequences, length, D].
at::Tensor block(const at::Tensor& rows, const Run& run) {
  return rows.narrow(0, run.first_row, run.count * run.length).view({run.count, run.length, rows.size(1)});
}

// Consecutive pairs of head and tail whose lengths are the same.
struct JointRun {
  Run head, tail;
};

std::vector<JointRun> joint_runs(const Lengths& head, const Lengths& tail, std::int64_t& repeat) {
  TORCH_CHECK_VALUE(!head.empty() && tail.size() % head.size() == 0 && !tail.empty(), tail.size(), " sequences cannot follow ", head.size());
  repeat = static_cast<std::int64_t>(tail.size() / head.size());
  std::vector<JointRun> runs;
  std::int64_t head_row = 0, tail_row = 0;
  for (std::size_t i = 0; i < head.size(); ++i) {
    for (std::int64_t r = 0; r < repeat; ++r) {
      const auto length = tail[i * static_cast<std::size_t>(repeat) + static_cast<std::size_t>(r)];
      TORCH_CHECK_VALUE(length == tail[i * static_cast<std::size_t>(repeat)], "the sequences after one head must have one length");
    }
    const auto length = tail[i * static_cast<std::size_t>(repeat)];
    if (!runs.empty() && runs.back().head.length == head[i] && runs.back().tail.length == length) {
      ++runs.back().head.count;
      runs.back().tail.count += repeat;
    } else {
      runs.push_back({{head_row, 1, head[i]}, {tail_row, repeat, length}});
    }
    head_row += head[i];
    tail_row += repeat * length;
  }
  return runs;
}

}  // namespace

at::Tensor prepend(const at::Tensor& rows, const at::Tensor& token, const Layout& layout) {
  std::vector<at::Tensor> parts;
  for (const auto& run : layout)
    parts.push_back(at::cat({token.to(rows.scalar_type()).expand({run.count, token.size(0), -1}), block(rows, run)}, 1).flatten(0, 1));
  return together(parts);
}

at::Tensor drop_first(const at::Tensor& rows, const Lengths& lengths, std::int64_t count) {
  std::vector<at::Tensor> parts;
  for (const auto& run : layout_of(lengths)) parts.push_back(block(rows, run).narrow(1, count, run.length - count).flatten(0, 1));
  return together(parts);
}

at::Tensor first_rows(const at::Tensor& rows, const Lengths& lengths) {
  std::vector<at::Tensor> parts;
  for (const auto& run : layout_of(lengths)) parts.push_back(block(rows, run).select(1, 0));
  return together(parts);
}

at::Tensor mean_rows(const at::Tensor& rows, const Lengths& lengths, std::int64_t skip) {
  std::vector<at::Tensor> parts;
  for (const auto& run : layout_of(lengths)) parts.push_back(block(rows, run).narrow(1, skip, run.length - skip).mean(1));
  return together(parts);
}

at::Tensor join(const at::Tensor& head, const Lengths& head_lengths, const at::Tensor& tail, const Lengths& tail_lengths, Lengths& lengths) {
  std::int64_t repeat = 1;
  std::vector<at::Tensor> parts;
  lengths.clear();
  for (const auto& run : joint_runs(head_lengths, tail_lengths, repeat)) {
    const auto front = block(head, run.head).unsqueeze(1).expand({-1, repeat, -1, -1}).flatten(0, 1);
    parts.push_back(at::cat({front, block(tail, run.tail)}, 1).flatten(0, 1));
    lengths.insert(lengths.end(), static_cast<std::size_t>(run.tail.count), run.head.length + run.tail.length);
  }
  return together(parts);
}

at::Tensor split_tail(const at::Tensor& rows, const Lengths& head_lengths, const Lengths& tail_lengths) {
  std::int64_t repeat = 1, row = 0;
  std::vector<at::Tensor> parts;
  for (const auto& run : joint_runs(head_lengths, tail_lengths, repeat)) {
    const std::int64_t length = run.head.length + run.tail.length, count = run.tail.count;
    parts.push_back(block(rows, {row, count, length}).narrow(1, run.head.length, run.tail.length).flatten(0, 1));
    row += count * length;
  }
  return together(parts);
}

}  // namespace sslmed::nn
