#pragma once
// Reading EDF, EDF+C, EDF+D, BDF and BDF+. Values are physical; gaps are NaN; nothing is guessed in silence.
// Thread-safe after construction: every read is a pread.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "io/edf_header.h"
#include "io/signal_file.h"

namespace sslmed::io {

// Records that follow each other without a gap. Records whose time is not known are in none.
struct Segment {
  std::int64_t first_record = 0, n_records = 0;
  double onset = 0;  // s from the first sample of the file
};

class EdfFile : public SignalFile {
 public:
  explicit EdfFile(const std::string& path);

  const std::string& path() const noexcept override { return file_.path(); }
  const EdfHeader& header() const noexcept { return header_; }
  const std::vector<std::string>& warnings() const noexcept override { return warnings_; }

  std::size_t n_channels() const noexcept override { return channels_.size(); }
  const EdfSignal& channel(std::size_t i) const { return header_.signals[channels_.at(i)]; }
  const std::string& label(std::size_t i) const override { return channel(i).label; }
  const std::string& unit(std::size_t i) const override { return channel(i).unit; }
  bool has_scale(std::size_t i) const override { return channel(i).has_scale; }
  double sfreq(std::size_t i) const override;   // Hz
  std::int64_t n_samples(std::size_t i) const;  // stored samples, gaps not counted
  std::optional<DateTime> start() const;        // of the first sample, which an onset of EDF+ may move
  // Whether all records follow each other without a gap.
  bool is_continuous() const noexcept { return header_.n_records == 0 || segments_.front().n_records == header_.n_records; }
  const std::vector<Segment>& segments() const noexcept { return segments_; }
  std::vector<double> record_onsets() const;  // s from the header's start, one a record; NaN of one that is left out
  double duration() const;                    // s from the first sample to the end of the last record, gaps included
  std::vector<Stretch> stretches(std::size_t i) const override;
  std::vector<Annotation> annotations(std::vector<std::string>& notes) const override;

  // Stored samples [start, stop) of one channel in physical units.
  template <class Real>
  void read_channel(std::size_t i, std::int64_t start, std::int64_t stop, Real* into) const;
  void read_grid(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const override;
  // Length of the time axis of channel i in samples, gaps included.
  std::int64_t grid_size(std::size_t i) const;

 private:
  struct RecordTime {
    double onset = 0;
    bool valid = false, is_empty = false, unusual = false;
    std::string found;  // for messages, where it is not valid
  };
  std::string annotation_bytes(std::int64_t record, const EdfSignal& signal) const;
  void check_time_keeping(const RecordTime& first, const RecordTime& last);
  RecordTime time_of_record(std::int64_t record) const;
  std::vector<double> scanned_onsets(double tolerance);
  void find_segments();
  void check_scale(std::size_t i) const;
  template <class Real>
  void read_records(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, Real* into, std::int64_t stride) const;

  File file_;
  std::vector<std::string> warnings_;  // before the header, whose reading fills it
  EdfHeader header_;
  std::vector<std::size_t> channels_;     // indices into header_.signals without annotations
  std::vector<std::size_t> annotations_;  // those with
  std::vector<Segment> segments_;
  double first_onset_ = 0;  // s from the header's start
};

// What was wrong with annotation lists: how many were left out, and whether any was read that is not as the standard has it.
struct ListFaults {
  int malformed = 0;
  bool unusual = false;
};

// Time-stamped annotation lists of one record's annotation signal. `keeps_time` is true for the first signal, whose first
// list gives the record's onset. A malformed list is left out, and the next one read.
ListFaults parse_annotation_lists(const std::string& bytes, bool keeps_time, std::optional<double>& record_onset, std::vector<Annotation>& out);

}  // namespace sslmed::io
