#pragma once
// Files of others are read with pread: a mapped file that shrinks under us is SIGBUS, a short pread is an error we can name.

#include <cstddef>
#include <cstdint>
#include <string>

namespace sslmed {

// Which file it is, and which state of it: another stamp may have other bytes.
struct FileStamp {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t seconds = 0, nanoseconds = 0;  // of its last change
  bool operator==(const FileStamp&) const = default;
};

class File {
 public:
  // Opens a regular file for reading. ReadError when that fails.
  explicit File(std::string path);
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Reads exactly `size` bytes at `offset`, from any thread. ReadError on an I/O error or when the file ends before.
  void read(void* into, std::size_t size, std::uint64_t offset) const;
  std::uint64_t size() const noexcept { return size_; }
  const std::string& path() const noexcept { return path_; }
  FileStamp stamp() const;

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  int descriptor_ = -1;
};

// A file that appears under its name only when it is complete: written beside it, fsynced, renamed, directory fsynced.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();  // without commit(), removes the temporary file
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* from, std::size_t size);
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::string path_, temporary_;
  int descriptor_ = -1;
};

}  // namespace sslmed
