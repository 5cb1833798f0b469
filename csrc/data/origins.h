#pragma once
// Which file, person and site each row of an index is of.

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/sample.h"
#include "data/texts.h"

namespace sslmed::data {

struct Origins {
  Texts paths;  // one a row
  std::vector<std::int32_t> subject_codes, site_codes;
  Texts subjects;  // by code
  std::vector<std::string> sites;
  std::int32_t n_subjects = 0;

  // ValueError where a code has no name, or columns differ in length.
  void check(std::size_t rows) const {
    if (subject_codes.size() != rows || site_codes.size() != rows) throw ValueError("the columns of an index have different lengths");
    for (std::size_t i = 0; i < rows; ++i)
      if (subject_codes[i] < 0 || subject_codes[i] >= n_subjects || site_codes[i] < 0 || static_cast<std::size_t>(site_codes[i]) >= sites.size())
        throw ValueError(paths.at(static_cast<std::int64_t>(i)) + ": an index needs a subject and a site");
  }

  SampleInfo info(std::int64_t row) const {
    const auto i = static_cast<std::size_t>(row);
    SampleInfo info;
    info.subject = subjects.at(subject_codes[i]);
    info.site = sites[static_cast<std::size_t>(site_codes[i])];
    info.file = paths.at(row);
    info.recording = row;
    return info;
  }
};

}  // namespace sslmed::data
