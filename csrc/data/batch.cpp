#include "data/batch.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "core/error.h"

namespace sslmed::data {
namespace {

struct Item {
  std::int64_t slot;
  View* view;
};

template <class T>
constexpr at::ScalarType scalar_type() {
  return std::is_same_v<T, std::uint8_t> ? at::kByte : at::kFloat;
}

// Each picture once, however many views there are of it.
DeferredBatch defer(const std::vector<Item>& items, std::int64_t patch, BufferPool& pool) {
  std::map<const Array*, std::int64_t> first;
  std::vector<const std::vector<std::uint8_t>*> pictures;
  std::int64_t bytes = 0;
  const auto deferred = [](const Item& item) -> const Deferred& { return std::get<Deferred>(std::get<Patches>(item.view->content).values); };
  for (const auto& item : items) {
    const auto* picture = deferred(item).picture.get();
    if (!first.try_emplace(picture, bytes).second) continue;
    pictures.push_back(&std::get<std::vector<std::uint8_t>>(picture->values));
    bytes += static_cast<std::int64_t>(pictures.back()->size());
  }
  DeferredBatch out{pool.empty({bytes}, at::kByte), {}, patch};
  auto* to = out.pictures.data_ptr<std::uint8_t>();
  for (const auto* picture : pictures) to = std::copy(picture->begin(), picture->end(), to);
  out.plans.reserve(items.size());
  for (const auto& item : items) {
    const auto& [picture, plan] = deferred(item);
    out.plans.push_back({plan, first.at(picture.get()), picture->shape[1], picture->shape[0]});
  }
  return out;
}

// One column of the patches of all items, [rows, width].
template <class From, class To, class Get>
at::Tensor column(const std::vector<Item>& items, std::int64_t rows, std::int64_t width, at::ScalarType type, Get&& get) {
  auto out = width == 1 ? at::empty({rows}, type) : at::empty({rows, width}, type);
  auto* to = out.template data_ptr<To>();
  for (const auto& item : items) {
    const std::vector<From>& from = get(std::get<Patches>(item.view->content));
    to = std::copy(from.begin(), from.end(), to);
  }
  return out;
}

PackedPatches pack(const std::vector<Item>& items, BufferPool& pool) {
  const auto& first = std::get<Patches>(items.front().view->content);
  PackedPatches out;
  out.key = first.key;
  std::int64_t rows = 0;
  for (const auto& item : items) {
    out.lengths.push_back(std::get<Patches>(item.view->content).count);
    rows += out.lengths.back();
  }
  std::visit(
      [&](const auto& values) {
        using Vector = std::decay_t<decltype(values)>;
        if constexpr (std::is_same_v<Vector, Deferred>) {
          out.deferred = defer(items, first.key.patch.front(), pool);
        } else {
          using T = typename Vector::value_type;
          out.values = pool.empty({rows, first.key.values()}, scalar_type<T>());
          auto* to = out.values.template data_ptr<T>();
          for (const auto& item : items) {
            const auto& from = std::get<Vector>(std::get<Patches>(item.view->content).values);
            to = std::copy(from.begin(), from.end(), to);
          }
        }
      },
      first.values);
  const auto rank = static_cast<std::int64_t>(first.extent.size());
  out.coords = column<float, float>(items, rows, 4, at::kFloat, [](const Patches& p) -> const auto& { return p.coords; });
  out.grid = column<std::int32_t, int>(items, rows, rank, at::kInt, [](const Patches& p) -> const auto& { return p.grid; }).view({rows, rank});
  const auto n = static_cast<std::int64_t>(items.size());
  out.extents = column<std::int32_t, int>(items, n, rank, at::kInt, [](const Patches& p) -> const auto& { return p.extent; }).view({n, rank});
  if (!first.extra.empty()) out.extra = column<std::int32_t, std::int64_t>(items, rows, 1, at::kLong, [](const Patches& p) -> const auto& { return p.extra; });
  return out;
}

StackedDense stack(const std::vector<Item>& items, BufferPool& pool) {
  const auto& first = std::get<Dense>(items.front().view->content);
  const auto n = static_cast<std::int64_t>(items.size());
  StackedDense out;
  out.modality = first.modality;
  std::vector<std::int64_t> shape{n};
  shape.insert(shape.end(), first.shape.begin(), first.shape.end());
  const auto rank = static_cast<std::int64_t>(first.spacing.size());
  out.spacing = at::empty({n, rank}, at::kDouble);
  auto* spacing = out.spacing.data_ptr<double>();
  std::visit(
      [&](const auto& values) {
        using Vector = std::decay_t<decltype(values)>;
        using T = typename Vector::value_type;
        out.values = pool.empty(shape, scalar_type<T>());
        auto* to = out.values.template data_ptr<T>();
        for (const auto& item : items) {
          const auto& dense = std::get<Dense>(item.view->content);
          const auto& from = std::get<Vector>(dense.values);
          to = std::copy(from.begin(), from.end(), to);
          spacing = std::copy(dense.spacing.begin(), dense.spacing.end(), spacing);
        }
      },
      first.values);
  return out;
}

// Rows that a view's mask counts in: its patches, or the cells of the mask's own grid.
std::int64_t mask_rows(const View& view) {
  if (const auto* patches = std::get_if<Patches>(&view.content)) return patches->count;
  return static_cast<std::int64_t>(view.mask->visible.size() + view.mask->masked.size());
}

std::optional<PackedMask> pack_masks(const std::vector<Item>& items) {
  std::int64_t visible = 0, masked = 0;
  bool any = false;  // a sample that is not masked at all has a mask too
  for (const auto& item : items) {
    if (!item.view->mask) continue;
    any = true;
    visible += static_cast<std::int64_t>(item.view->mask->visible.size());
    masked += static_cast<std::int64_t>(item.view->mask->masked.size());
  }
  if (!any) return std::nullopt;
  PackedMask out;
  out.visible = at::empty({visible}, at::kLong);
  out.masked = at::empty({masked}, at::kLong);
  auto *visible_at = out.visible.data_ptr<std::int64_t>(), *masked_at = out.masked.data_ptr<std::int64_t>();
  std::int64_t row = 0;
  for (const auto& item : items) {
    if (!item.view->mask) throw ValueError("views of the role '" + item.view->role + "' must all have a mask, or none");
    const auto& mask = *item.view->mask;
    for (const auto i : mask.visible) *visible_at++ = row + i;
    for (const auto i : mask.masked) *masked_at++ = row + i;
    out.visible_lengths.push_back(static_cast<std::int64_t>(mask.visible.size()));
    out.masked_lengths.push_back(static_cast<std::int64_t>(mask.masked.size()));
    out.blocks = mask.blocks;
    row += mask_rows(*item.view);
  }
  return out;
}

// [n, width + 1]: places, then the class.
at::Tensor with_classes(const std::vector<float>& places, const std::vector<std::int32_t>& classes, std::int64_t width) {
  auto out = at::empty({static_cast<std::int64_t>(classes.size()), width + 1}, at::kFloat);
  auto* to = out.data_ptr<float>();
  for (std::size_t i = 0; i < classes.size(); ++i) {
    to = std::copy_n(places.data() + static_cast<std::int64_t>(i) * width, width, to);
    *to++ = static_cast<float>(classes[i]);
  }
  return out;
}

at::Tensor tensor_of(const Target& target) {
  if (const auto* map = std::get_if<LabelMap>(&target)) {
    auto out = at::empty(map->shape, at::kInt);
    std::copy(map->classes.begin(), map->classes.end(), out.data_ptr<std::int32_t>());
    return out;
  }
  if (const auto* points = std::get_if<Points>(&target)) return with_classes(points->places, points->classes, points->rank);
  if (const auto* boxes = std::get_if<Boxes>(&target)) return with_classes(boxes->edges, boxes->classes, 2 * boxes->rank);
  return {};
}

ViewBatch together(std::vector<Item>& items, BufferPool& pool) {
  // Equal lengths side by side; the sampler's order among equals, so that the result does not depend on threads.
  const auto length = [](const Item& item) {
    const auto* patches = std::get_if<Patches>(&item.view->content);
    return std::pair(patches != nullptr ? patches->count : 0, item.view->mask ? item.view->mask->visible.size() : 0);
  };
  std::stable_sort(items.begin(), items.end(), [&](const Item& a, const Item& b) { return length(a) < length(b); });
  const auto& first = *items.front().view;
  ViewBatch out;
  out.role = first.role;
  out.number = first.number;
  if (std::holds_alternative<Patches>(first.content)) {
    out.content = pack(items, pool);
  } else {
    out.content = stack(items, pool);
  }
  out.mask = pack_masks(items);
  for (auto& item : items) {
    out.slots.push_back(item.slot);
    for (const auto& [name, target] : item.view->targets)
      if (auto tensor = tensor_of(target); tensor.defined()) out.targets[name].push_back(std::move(tensor));
    *item.view = {};  // its memory is wanted for the next batch
  }
  for (const auto& [name, tensors] : out.targets)
    if (tensors.size() != items.size()) throw ValueError("target " + quote(name) + " must be in all samples of a batch or in none");
  return out;
}

// What is batched together. Kinds of values too: a modality's bytes and numbers do not mix.
using Key = std::tuple<std::string, std::int32_t, std::size_t, EmbeddingKey, std::vector<std::int64_t>, std::size_t>;

Key key_of(const View& view) {
  if (const auto* patches = std::get_if<Patches>(&view.content)) return {view.role, view.number, 0, patches->key, {}, patches->values.index()};
  const auto& dense = std::get<Dense>(view.content);
  return {view.role, view.number, 1, EmbeddingKey{dense.modality, {}, 0}, dense.shape, dense.values.index()};
}

}  // namespace

const PackedPatches& ViewBatch::patches(const char* who) const {
  if (const auto* found = std::get_if<PackedPatches>(&content)) return *found;
  throw ValueError(std::string(who) + ": needs views of patches, got dense ones");
}

const StackedDense& ViewBatch::dense(const char* who) const {
  if (const auto* found = std::get_if<StackedDense>(&content)) return *found;
  throw ValueError(std::string(who) + ": needs dense views, got patches");
}

const PackedMask& ViewBatch::masks(const char* who) const {
  if (mask) return *mask;
  throw ValueError(std::string(who) + ": needs views with a mask, got views without one");
}

ViewBatch ViewBatch::to(const at::Device& device, at::ScalarType type) const {
  ViewBatch moved = *this;
  const auto move = [&](at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.to(device, tensor.is_floating_point() ? type : tensor.scalar_type(), /*non_blocking=*/true);
  };
  if (auto* patches = std::get_if<PackedPatches>(&moved.content)) {
    for (auto* tensor : {&patches->values, &patches->coords, &patches->grid, &patches->extra}) move(*tensor);
    if (patches->deferred) {
      const auto& [pictures, plans, patch] = *patches->deferred;
      patches->values = ops::augment(pictures.to(device, at::kByte, /*non_blocking=*/true), plans, patch);
      patches->deferred.reset();
    }
  } else {
    move(std::get<StackedDense>(moved.content).values);
  }
  if (moved.mask) {
    move(moved.mask->visible);
    move(moved.mask->masked);
  }
  for (auto& [name, tensors] : moved.targets)
    for (auto& tensor : tensors) move(tensor);
  return moved;
}

std::int64_t Batch::samples() const {
  return static_cast<std::int64_t>(std::count_if(sample_ids.begin(), sample_ids.end(), [](std::int64_t id) { return id >= 0; }));
}

Batch assemble(std::uint64_t number, std::vector<std::int64_t> sample_ids, std::vector<std::vector<View>> views, BufferPool& pool,
               const std::vector<Targets>& targets) {
  Batch batch;
  batch.number = number;
  std::map<Key, std::vector<Item>> groups;
  for (std::size_t slot = 0; slot < views.size(); ++slot)
    for (auto& view : views[slot]) groups[key_of(view)].push_back({static_cast<std::int64_t>(slot), &view});
  for (auto& [key, items] : groups) batch.views.push_back(together(items, pool));
  for (std::size_t slot = 0; slot < targets.size(); ++slot) {
    for (const auto& [name, target] : targets[slot]) {
      const auto* value = std::get_if<double>(&target);
      if (value == nullptr) continue;  // what has places is in the views, which moved it
      const auto at = batch.targets.try_emplace(name);
      if (at.second) at.first->second = at::full({static_cast<std::int64_t>(targets.size())}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
      at.first->second.data_ptr<double>()[slot] = *value;
    }
  }
  batch.sample_ids = std::move(sample_ids);
  return batch;
}

}  // namespace sslmed::data
