#include "data/source.h"

#include <map>

namespace sslmed::data {

SubjectRuns Source::subjects() const {
  SubjectRuns runs;
  std::map<std::string, std::int32_t> codes;
  for (std::int64_t i = 0; i < size(); ++i) {
    const auto code = codes.try_emplace(describe(i).subject, static_cast<std::int32_t>(codes.size())).first->second;
    if (runs.subject.empty() || runs.subject.back() != code) {
      runs.first.push_back(i);
      runs.subject.push_back(code);
    }
  }
  runs.first.push_back(size());
  runs.n_subjects = static_cast<std::int32_t>(codes.size());
  return runs;
}

}  // namespace sslmed::data
