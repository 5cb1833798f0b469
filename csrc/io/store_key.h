#pragma once
// Names of converted copies: what tells one version of a file from another.

#include <string>

namespace sslmed::io {

// Absolute path, size and time of change of a file. ReadError where it is not there.
std::string version_of(const std::string& path);

// "stem-0123456789abcdef": the name of a file without its ending, and a hash of the key.
std::string copy_name(const std::string& path, const std::string& key);

}  // namespace sslmed::io
