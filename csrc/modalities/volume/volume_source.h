#pragma once
// Volumes of sessions, one sample a session: out of prepared stores, or out of files that are prepared when they are drawn.

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/lru.h"
#include "data/origins.h"
#include "data/source.h"
#include "modalities/volume/prepare.h"

namespace sslmed::volume {

struct VolumeSourceOptions {
  std::string modality = "volumes";      // of its samples
  std::vector<std::string> sequences;    // in this order; empty: the first one of each session
  std::vector<bool> optional;            // whether a session may lack it, one a sequence
  std::vector<std::int32_t> extra;       // row of the encoder's table, one a sequence; empty: none
  std::array<std::int64_t, 3> region{};  // cells that training crops are taken from; 0: the whole volume
  bool labels = false;                   // whether samples carry the target "labels"; kUnlabeled where a session has none
  bool random = false;                   // regions from anywhere; otherwise whole volumes
  PreparationOptions preparation;
};

class VolumeSource : public data::Source {
 public:
  // A session is a store (its path in `sessions`, no entry of `files`), or files. `files` is empty, or has one entry a session. ValueError for columns
  // that do not fit. No file is opened.
  VolumeSource(data::Origins sessions, std::vector<SessionFiles> files, VolumeSourceOptions options, std::map<std::string, std::vector<double>> targets = {});

  std::int64_t size() const override { return static_cast<std::int64_t>(sessions_.subject_codes.size()); }
  data::SampleInfo describe(std::int64_t index) const override;
  std::vector<std::int64_t> first_samples() const override;
  // Arrays: the sequences that are there, each with its name, then "mask", and "deface" where there is one; the target "labels". Places are in mm from
  // the middle of the whole volume.
  data::Sample sample(std::int64_t index, const Draw& draw) const override;

  // What was found on preparing files since the last call, in the order of sessions and once a session. Warnings of headers
  // are not among these.
  std::vector<std::string> take_warnings() const;

  // The prepared session, and its sequences that are asked for.
  std::shared_ptr<const io::VolumeStore> open(std::int64_t index) const;

 private:
  struct Told {
    std::mutex mutex;
    std::set<std::int64_t> sessions;
    std::map<std::int64_t, std::vector<std::string>> waiting;

    void add(std::int64_t session, std::vector<std::string> warnings);
    std::vector<std::string> take();
  };

  std::vector<const io::VolumeStore::Channel*> sequences_of(const io::VolumeStore& store, const std::string& path, std::vector<std::int32_t>& extra) const;
  io::Extent3 region_of(const io::VolumeStore& store, const Draw& draw, io::Extent3& first) const;

  data::Origins sessions_;
  std::vector<SessionFiles> files_;
  VolumeSourceOptions options_;
  std::map<std::string, std::vector<double>> targets_;
  std::string settings_;
  mutable Lru<std::int64_t, io::VolumeStore> open_;
  mutable Told told_;
};

}  // namespace sslmed::volume
