#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "core/error.h"

namespace sslmed {

File::File(std::string path) : path_(std::move(path)) {
  // Nobody may ever write to a pipe of this name; of regular files O_NONBLOCK changes nothing.
  do {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) throw ReadError(path_, "cannot be opened", errno);
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const int error = known ? EISDIR : errno;
    ::close(descriptor_);
    descriptor_ = -1;
    if (known && !S_ISDIR(status.st_mode)) throw ReadError(path_, "is not a regular file: expected a file, found a pipe, socket or device; leave it out");
    throw ReadError(path_, "is not a regular file", error);
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept : path_(std::move(other.path_)), size_(other.size_), descriptor_(std::exchange(other.descriptor_, -1)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void File::read(void* into, std::size_t size, std::uint64_t offset) const {
  auto* at = static_cast<char*>(into);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(descriptor_, at + done, size - done, static_cast<off_t>(offset + done));
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0) {
      throw ReadError(path_, "ends at byte " + std::to_string(offset + done) + " where " + std::to_string(size - done) + " more were expected (" +
                                 std::to_string(size_) + " when it was opened)");
    } else if (errno != EINTR) {
      throw ReadError(path_, "cannot be read at byte " + std::to_string(offset + done), errno);
    }
  }
}

FileStamp File::stamp() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw ReadError(path_, "cannot be looked at", errno);
  return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  // Unique within and across processes, in the same directory so that rename() stays on one file system.
  static std::atomic<unsigned> serial{0};
  temporary_ = path_ + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(serial++);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("cannot be created");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what) const { throw ReadError(path_, what, errno); }

void AtomicFile::write(const void* from, std::size_t size) {
  const auto* at = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t put = ::write(descriptor_, at, size);
    if (put < 0) {
      if (errno == EINTR) continue;
      fail("cannot be written");
    }
    at += put;
    size -= static_cast<std::size_t>(put);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail("cannot be flushed to disk");
  const int descriptor = std::exchange(descriptor_, -1);
  if (::close(descriptor) != 0) fail("cannot be closed");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be renamed into place");
  temporary_.clear();
  // The rename itself must survive a power cut, so the directory is flushed as well.
  const auto slash = path_.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const int folder = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
}

}  // namespace sslmed
