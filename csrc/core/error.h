#pragma once
// Errors that carry what a person needs to act: the file, what was expected there, and what was found.
// bindings/errors.cpp maps them to Python once.

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sslmed {

// The bytes of a file are not what its format allows. Python: sslmed.FormatError (a ValueError).
class FormatError : public std::runtime_error {
 public:
  FormatError(const std::string& path, std::string_view expected, std::string_view found);
};

// The operating system could not give us the bytes. Python: sslmed.ReadError (an OSError).
class ReadError : public std::runtime_error {
 public:
  ReadError(const std::string& path, std::string_view what, int error_number = 0);
  int error_number() const noexcept { return error_number_; }

 private:
  int error_number_;
};

// The caller asked for something that makes no sense. Python: ValueError.
class ValueError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// A long text cut for a message, with unprintable bytes escaped, so that a hostile header cannot garble a terminal.
std::string quote(std::string_view text, std::size_t limit = 48);

// ValueError "name=value expected" unless `good`: one condition a message.
template <class T>
void require(bool good, const char* name, const T& value, const std::string& expected) {
  if (good) return;
  std::ostringstream text;
  text << name << '=' << value << ' ' << expected;
  throw ValueError(text.str());
}

}  // namespace sslmed
