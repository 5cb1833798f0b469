#include "data/sample.h"

#include <cstdio>

namespace sslmed::data {

std::string SampleInfo::text() const {
  std::string out = file;
  for (const auto& [name, value, unit] : place) {
    char number[32];
    std::snprintf(number, sizeof number, "%g", value);
    out += ", " + name + " " + number + " " + unit;
  }
  return out;
}

}  // namespace sslmed::data
