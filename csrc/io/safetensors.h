#pragma once
// The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes of header length, a JSON header, raw bytes.
// Nothing in it can execute, which is why weights and checkpoints live in it.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"

namespace sslmed::io {

// The element types that the format names and torch has. `code` is the format's own spelling ("F32").
struct TensorEntry {
  std::string name;
  std::string code;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes, from the start of the file
  std::uint64_t size = 0;   // bytes
};

// Bytes of one element of `code`, or 0 for a code that the format does not know.
std::size_t element_size(const std::string& code);

class SafetensorsFile {
 public:
  // Reads and checks the header: its length, the JSON, every shape against its extent, and that the extents cover the data
  // without hole or overlap up to the file's end. FormatError or ReadError.
  explicit SafetensorsFile(const std::string& path);

  const std::vector<TensorEntry>& entries() const noexcept { return entries_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  // Copies an entry's bytes (entry.size of them).
  void read(const TensorEntry& entry, void* into) const { file_.read(into, entry.size, entry.begin); }

 private:
  void parse(const std::string& header, std::uint64_t data_begin);
  void check_cover(std::uint64_t data_begin) const;

  File file_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// One tensor to write: contiguous bytes that outlive the call.
struct TensorBytes {
  std::string name;
  std::string code;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
};

// Writes all tensors atomically: the file is either the old one or the complete new one, whatever happens.
void write_safetensors(const std::string& path, const std::vector<TensorBytes>& tensors, const std::map<std::string, std::string>& metadata);

}  // namespace sslmed::io
