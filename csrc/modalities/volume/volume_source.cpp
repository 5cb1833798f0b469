#include "modalities/volume/volume_source.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace sslmed::volume {
namespace {

constexpr std::size_t kOpenStores = 64;   // mapped at a time
constexpr std::size_t kOpenPrepared = 8;  // of files that are prepared as they are drawn: they are held in memory
constexpr int kTries = 8;                 // to find a region that shows something
constexpr double kLeastAnatomy = 0.1;     // share of such a region

std::int64_t count_of(const io::Extent3& shape) { return shape[0] * shape[1] * shape[2]; }

std::vector<std::int64_t> with_channel(const io::Extent3& shape) { return {shape[0], shape[1], shape[2], 1}; }

std::string names_of(const io::VolumeStore& store) {
  std::string out;
  for (const auto& channel : store.channels())
    if (channel.name != "mask" && channel.name != "deface" && channel.name != "labels") out += (out.empty() ? "" : ", ") + channel.name;
  return out;
}

}  // namespace

VolumeSource::VolumeSource(data::Origins sessions, std::vector<SessionFiles> files, VolumeSourceOptions options,
                           std::map<std::string, std::vector<double>> targets)
    : sessions_(std::move(sessions)),
      files_(std::move(files)),
      options_(std::move(options)),
      targets_(std::move(targets)),
      settings_(text_of(options_.preparation)),
      open_(files_.empty() ? kOpenStores : kOpenPrepared) {
  const auto n = sessions_.subject_codes.size();
  if (n == 0) throw ValueError("VolumeSource: sessions must hold at least one");
  sessions_.check(n);
  check(options_.preparation);
  if (!files_.empty() && files_.size() != n)
    throw ValueError("VolumeSource: files has " + std::to_string(files_.size()) + " entries, expected one for each of " + std::to_string(n) + " sessions");
  if (options_.optional.size() != options_.sequences.size()) throw ValueError("VolumeSource: optional needs one entry a sequence");
  if (!options_.extra.empty() && options_.extra.size() != options_.sequences.size()) throw ValueError("VolumeSource: extra needs one entry a sequence");
  for (const auto side : options_.region) require(side >= 0 && side <= (1 << 12), "region", side, "cells must be 0 to 4,096");
  for (const auto& [name, column] : targets_)
    if (column.size() != n)
      throw ValueError("targets: " + quote(name) + " has " + std::to_string(column.size()) + " values, expected one for each of " + std::to_string(n) +
                       " sessions");
}

data::SampleInfo VolumeSource::describe(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("session " + std::to_string(index) + " of " + std::to_string(size()));
  return sessions_.info(index);
}

std::vector<std::int64_t> VolumeSource::first_samples() const {
  std::vector<std::int64_t> first(static_cast<std::size_t>(size()) + 1);
  std::iota(first.begin(), first.end(), 0);
  return first;
}

std::shared_ptr<const io::VolumeStore> VolumeSource::open(std::int64_t index) const {
  const auto path = describe(index).file;
  return open_.get(index, [&]() -> std::shared_ptr<const io::VolumeStore> {
    if (!files_.empty() && !files_[static_cast<std::size_t>(index)].sequences.empty()) {
      std::vector<std::string> of_headers;  // told by sslmed/modalities/volumes/source.py, which reads all headers
      const auto session = read_session(files_[static_cast<std::size_t>(index)], of_headers);
      std::vector<std::string> warnings;
      const auto prepared = prepare(path, session, options_.preparation, warnings);
      told_.add(index, std::move(warnings));
      return io::VolumeStore::from_bytes(path, io::encode_store(prepared));
    }
    auto store = io::VolumeStore::open(path);
    if (store->settings() != settings_)
      throw ValueError(path + ": was prepared with " + store->settings() + ", but the encoder's preprocessing has " + settings_ +
                       "; prepare the cohort again with these settings (sslmed.prepare)");
    return store;
  });
}

std::vector<std::string> VolumeSource::take_warnings() const { return told_.take(); }

void VolumeSource::Told::add(std::int64_t session, std::vector<std::string> warnings) {
  const std::lock_guard lock(mutex);
  if (sessions.insert(session).second && !warnings.empty()) waiting[session] = std::move(warnings);
}

std::vector<std::string> VolumeSource::Told::take() {
  const std::lock_guard lock(mutex);
  std::vector<std::string> out;
  for (auto& [session, warnings] : waiting) out.insert(out.end(), warnings.begin(), warnings.end());
  waiting.clear();
  return out;
}

std::vector<const io::VolumeStore::Channel*> VolumeSource::sequences_of(const io::VolumeStore& store, const std::string& path,
                                                                        std::vector<std::int32_t>& extra) const {
  if (options_.sequences.empty()) {
    extra = {-1};
    return {&store.channels().front()};
  }
  std::vector<const io::VolumeStore::Channel*> out;
  for (std::size_t i = 0; i < options_.sequences.size(); ++i) {
    const auto* channel = store.find(options_.sequences[i]);
    if (channel == nullptr) {
      if (options_.optional[i]) continue;
      throw FormatError(path, "the sequence " + quote(options_.sequences[i]), names_of(store) + " (a name that ends with '?' may be missing)");
    }
    out.push_back(channel);
    extra.push_back(options_.extra.empty() ? -1 : options_.extra[i]);
  }
  if (out.empty()) throw FormatError(path, "one of the sequences at least", names_of(store));
  return out;
}

// A region of the volume: of training, from anywhere where there is something to see.
io::Extent3 VolumeSource::region_of(const io::VolumeStore& store, const Draw& draw, io::Extent3& first) const {
  auto shape = store.shape();
  first = {0, 0, 0};
  if (!options_.random) return shape;
  Philox random(draw, Stream::kWindow, /*many=*/true);
  const auto* mask = store.find("mask");
  std::vector<std::uint8_t> cells;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    for (std::size_t a = 0; a < 3; ++a) {
      const auto side = options_.region[a];
      if (side == 0 || side >= store.shape()[a]) continue;
      shape[a] = side;
      first[a] = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(store.shape()[a] - side + 1)));
    }
    if (mask == nullptr || shape == store.shape()) break;
    cells.resize(static_cast<std::size_t>(count_of(shape)));
    store.read(*mask, first, shape, cells.data());
    if (static_cast<double>(std::count(cells.begin(), cells.end(), 1)) >= kLeastAnatomy * static_cast<double>(cells.size())) break;
  }
  return shape;
}

data::Sample VolumeSource::sample(std::int64_t index, const Draw& draw) const {
  const auto path = describe(index).file;
  const auto store = open(index);
  std::vector<std::int32_t> extra;
  const auto sequences = sequences_of(*store, path, extra);
  io::Extent3 first;
  const auto shape = region_of(*store, draw, first);
  data::GridSpace space{{store->spacing().begin(), store->spacing().end()}, {}};
  for (std::size_t a = 0; a < 3; ++a)
    space.origin.push_back((static_cast<double>(first[a]) - 0.5 * static_cast<double>(store->shape()[a])) * store->spacing()[a]);
  data::Sample sample;
  for (const auto& [name, column] : targets_) sample.targets[name] = column[static_cast<std::size_t>(index)];
  const auto cells = static_cast<std::size_t>(count_of(shape));
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    std::vector<float> values(cells);
    store->read(*sequences[i], first, shape, values.data());
    auto own = space;
    own.extra = extra[i];
    own.outside = static_cast<float>(sequences[i]->outside);
    sample.arrays.push_back({options_.modality, with_channel(shape), std::move(values), std::move(own), sequences[i]->name});
  }
  for (const char* name : {"mask", "deface"}) {
    const auto* channel = store->find(name);
    if (channel == nullptr) continue;
    std::vector<std::uint8_t> values(cells);
    store->read(*channel, first, shape, values.data());
    sample.arrays.push_back({options_.modality, with_channel(shape), std::move(values), space, name});
  }
  if (options_.labels) {
    data::LabelMap map{{shape.begin(), shape.end()}, std::vector<std::int32_t>(cells, data::kUnlabeled)};
    if (const auto* labels = store->find("labels"); labels != nullptr) store->read(*labels, first, shape, map.classes.data());
    sample.targets["labels"] = std::move(map);
  }
  return sample;
}

}  // namespace sslmed::volume
