#pragma once
// The prepared volumes of one session, in one file of our own: chunks of integers, each with a checksum, that are mapped
// and not copied. A crop touches its own chunks only.
//
// "SSLMEDV1" | length of the header, 8 bytes | header, JSON | table, 16 bytes a chunk | checksum of all before, 8 bytes |
// chunks. A chunk of one value is not stored: its place in the table is 0, and its value stands for its checksum.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace sslmed::io {

using Extent3 = std::array<std::int64_t, 3>;

constexpr std::int64_t kStoreChunk = 32;  // cells along each axis

struct StoreChannel {
  std::string name;                                                          // a sequence, "mask", "deface" or "labels"
  std::variant<std::vector<std::uint8_t>, std::vector<std::int16_t>> codes;  // [X, Y, Z], Z runs fastest
  double scale = 1, offset = 0;                                              // value = scale * code + offset
  double outside = 0;                                                        // value of what lies beyond the volume
};

struct StoreVolume {
  Extent3 shape{};
  std::array<double, 3> spacing{};  // mm
  std::array<double, 16> affine{};  // row-major [4, 4]: cell (its middle) to mm of the scanner, RAS+
  std::string settings;             // how it was to be prepared: compared when the store is used
  std::string facts;                // a JSON object: what was found on the way
  std::vector<StoreChannel> channels;
};

// The file's bytes: a pure function of the volume.
std::vector<std::uint8_t> encode_store(const StoreVolume& volume);

class VolumeStore {
 public:
  struct Channel {
    std::string name;
    std::int64_t bytes = 1;  // of a code
    double scale = 1, offset = 0, outside = 0;
    std::size_t first_chunk = 0;
  };

  // FormatError that names the path if the file is damaged or is not a store; ReadError if it cannot be read.
  static std::shared_ptr<const VolumeStore> open(const std::string& path);
  static std::shared_ptr<const VolumeStore> from_bytes(std::string name, std::vector<std::uint8_t> bytes);
  ~VolumeStore();
  VolumeStore(const VolumeStore&) = delete;
  VolumeStore& operator=(const VolumeStore&) = delete;

  const Extent3& shape() const noexcept { return shape_; }
  const std::array<double, 3>& spacing() const noexcept { return spacing_; }
  const std::array<double, 16>& affine() const noexcept { return affine_; }
  const std::string& settings() const noexcept { return settings_; }
  const std::string& facts() const noexcept { return facts_; }
  const std::vector<Channel>& channels() const noexcept { return channels_; }
  const Channel* find(const std::string& name) const;  // null where there is none

  // Cells [first, first + shape) of a channel, Z fastest: values (float) or codes (uint8, int32). Cells beyond the volume
  // get the channel's `outside` (codes: 0). A chunk is checked when it is first touched: FormatError.
  template <class T>
  void read(const Channel& channel, const Extent3& first, const Extent3& shape, T* into) const;
  // Checks every chunk.
  void verify() const;

 private:
  VolumeStore(std::string name) : name_(std::move(name)) {}
  void parse();
  void parse_header(const std::string& header);
  const unsigned char* chunk(const Channel& channel, std::size_t number, std::int64_t cells, std::int64_t& constant) const;

  std::string name_;
  std::vector<std::uint8_t> owned_;
  const unsigned char* bytes_ = nullptr;  // mapped, or those of owned_
  std::size_t size_ = 0;
  bool mapped_ = false;
  Extent3 shape_{}, grid_{};
  std::array<double, 3> spacing_{};
  std::array<double, 16> affine_{};
  std::string settings_, facts_;
  std::vector<Channel> channels_;
  std::size_t table_ = 0;                                 // byte where it starts
  std::unique_ptr<std::atomic<std::uint8_t>[]> checked_;  // one a chunk
};

}  // namespace sslmed::io
