#include "data/batch.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "ops/augment.h"

namespace sslmed::data {
namespace {

struct Item {
  std::int64_t slot;
  PatchView* view;
};

// Each picture once, however many views there are of it.
DeferredBatch defer(const std::vector<Item>& items, BufferPool& pool) {
  constexpr auto kPlan = static_cast<std::int64_t>(sizeof(transforms::AugmentPlan));
  const auto n = static_cast<std::int64_t>(items.size());
  std::map<const Sample*, std::int64_t> first;
  std::vector<const Sample*> pictures;
  std::int64_t bytes = 0;
  for (const auto& item : items) {
    const auto* picture = item.view->deferred.picture.get();
    if (!first.try_emplace(picture, bytes).second) continue;
    pictures.push_back(picture);
    bytes += static_cast<std::int64_t>(picture->pixels.size());
  }
  DeferredBatch out{pool.empty({bytes}, at::kByte), at::empty({n, 3}, at::kLong), at::empty({n, kPlan}, at::kByte), items.front().view->deferred.patch};
  auto* to = out.pictures.data_ptr<std::uint8_t>();
  for (const auto* picture : pictures) to = std::copy(picture->pixels.begin(), picture->pixels.end(), to);
  auto* source = out.sources.data_ptr<std::int64_t>();
  auto* plan = out.plans.data_ptr<std::uint8_t>();
  for (const auto& item : items) {
    const auto& [picture, changes, patch] = item.view->deferred;
    for (const auto value : {first.at(picture.get()), picture->shape[1], picture->shape[0]}) *source++ = value;
    std::memcpy(plan, &changes, sizeof changes);
    plan += kPlan;
  }
  return out;
}

PatchBatch pack(const std::string& role, std::int64_t embedding, std::vector<Item>& items, BufferPool& pool) {
  // Equal lengths side by side; the sampler's order among equals, so that the result does not depend on threads.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.view->count != b.view->count ? a.view->count < b.view->count : a.view->keep.size() < b.view->keep.size();
  });
  PatchBatch batch;
  batch.role = role;
  batch.embedding = embedding;
  std::int64_t rows = 0, kept = 0, masked = 0;
  for (const auto& item : items) {
    rows += item.view->count;
    kept += static_cast<std::int64_t>(item.view->keep.size());
    masked += static_cast<std::int64_t>(item.view->masked.size());
  }
  const std::int64_t patch = items.front().view->patch;
  const bool bytes = !items.front().view->pixels.empty();
  const bool deferred = items.front().view->deferred.picture != nullptr;
  if (deferred) {
    batch.deferred = defer(items, pool);
  } else {
    batch.values = pool.empty({rows, patch}, bytes ? at::kByte : at::kFloat);
  }
  batch.coords = at::empty({rows, 4}, at::kFloat);
  batch.grid = at::empty({rows, 2}, at::kInt);
  batch.extra = at::empty({rows}, at::kLong);
  if (masked > 0) {
    batch.keep = at::empty({kept}, at::kLong);
    batch.masked = at::empty({masked}, at::kLong);
  }
  auto* values = bytes || deferred ? nullptr : batch.values.data_ptr<float>();
  auto* pixels = bytes ? batch.values.data_ptr<std::uint8_t>() : nullptr;
  auto* coords = batch.coords.data_ptr<float>();
  auto* grid = batch.grid.data_ptr<int>();
  auto* extra = batch.extra.data_ptr<std::int64_t>();
  auto* keep_at = masked > 0 ? batch.keep.data_ptr<std::int64_t>() : nullptr;
  auto* masked_at = masked > 0 ? batch.masked.data_ptr<std::int64_t>() : nullptr;
  std::int64_t row = 0;
  for (const auto& item : items) {
    PatchView& view = *item.view;
    if (bytes) {
      pixels = std::copy(view.pixels.begin(), view.pixels.end(), pixels);
    } else {
      values = std::copy(view.values.begin(), view.values.end(), values);
    }
    coords = std::copy(view.coords.begin(), view.coords.end(), coords);
    grid = std::copy(view.grid.begin(), view.grid.end(), grid);
    extra = std::copy(view.extra.begin(), view.extra.end(), extra);
    for (const auto i : view.keep) *keep_at++ = row + i;
    for (const auto i : view.masked) *masked_at++ = row + i;
    batch.lengths.push_back(view.count);
    batch.keep_lengths.push_back(static_cast<std::int64_t>(view.keep.size()));
    batch.masked_lengths.push_back(static_cast<std::int64_t>(view.masked.size()));
    batch.blocks = view.blocks;
    batch.slots.push_back(item.slot);
    row += view.count;
    view = {};  // its memory is wanted for the next batch
  }
  return batch;
}

}  // namespace

PatchBatch PatchBatch::to(const at::Device& device, at::ScalarType type) const {
  PatchBatch moved = *this;
  for (auto* tensor : {&moved.values, &moved.coords, &moved.grid, &moved.extra, &moved.keep, &moved.masked})
    if (tensor->defined()) *tensor = tensor->to(device, tensor->is_floating_point() ? type : tensor->scalar_type(), /*non_blocking=*/true);
  if (deferred.pictures.defined()) {
    moved.values = ops::augment(deferred.pictures.to(device, at::kByte, /*non_blocking=*/true), deferred.sources, deferred.plans, deferred.patch);
    moved.deferred = {};
  }
  return moved;
}

std::int64_t Batch::samples() const {
  return static_cast<std::int64_t>(std::count_if(sample_ids.begin(), sample_ids.end(), [](std::int64_t id) { return id >= 0; }));
}

Batch assemble(std::uint64_t number, std::vector<std::int64_t> sample_ids, std::vector<std::vector<PatchView>> views, BufferPool& pool,
               const std::vector<Targets>& targets) {
  Batch batch;
  batch.number = number;
  std::map<std::pair<std::string, std::int64_t>, std::vector<Item>> groups;
  for (std::size_t slot = 0; slot < views.size(); ++slot)
    for (auto& view : views[slot]) groups[{view.role, view.embedding}].push_back({static_cast<std::int64_t>(slot), &view});
  for (auto& [key, items] : groups) batch.patches.push_back(pack(key.first, key.second, items, pool));
  for (std::size_t slot = 0; slot < targets.size(); ++slot) {
    for (const auto& [name, value] : targets[slot]) {
      const auto at = batch.targets.try_emplace(name);
      if (at.second) at.first->second = at::full({static_cast<std::int64_t>(targets.size())}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
      at.first->second.data_ptr<double>()[slot] = value;
    }
  }
  batch.sample_ids = std::move(sample_ids);
  return batch;
}

}  // namespace sslmed::data
