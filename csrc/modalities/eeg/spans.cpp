#include "modalities/eeg/spans.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>

namespace sslmed::eeg {
namespace {

constexpr double kRounding = 1e-3;  // samples: onsets in files are decimals

std::string plain(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* prefix : {"comment/", " "})
    while (text.rfind(prefix, 0) == 0) text.erase(0, std::string(prefix).size());
  return text;
}

// Takes [first, last) out of stretches in order; an empty span cuts.
std::vector<Stretch> taken_out(const std::vector<Stretch>& stretches, std::int64_t first, std::int64_t last) {
  std::vector<Stretch> left;
  for (const auto& stretch : stretches) {
    if (last < stretch.first || first > stretch.last) {
      left.push_back(stretch);
      continue;
    }
    if (first > stretch.first) left.push_back({stretch.first, std::min(first, stretch.last)});
    if (last < stretch.last) left.push_back({std::max(last, stretch.first), stretch.last});
  }
  return left;
}

}  // namespace

bool is_bad(const std::string& text) { return plain(text).rfind("bad", 0) == 0; }

bool is_boundary(const std::string& text) {
  const std::string key = plain(text);
  if (key == "boundary" || key == "bad boundary") return true;
  constexpr const char* kPrefixes[] = {"edge", "new segment", "lostsamples"};
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes), [&](const char* prefix) { return key.rfind(prefix, 0) == 0; });
}

std::vector<Stretch> usable_stretches(const std::vector<Stretch>& stretches, const std::vector<io::Annotation>& annotations, double sfreq) {
  std::vector<Stretch> left = stretches;
  const double end = left.empty() ? 0 : static_cast<double>(left.back().last);
  for (const auto& annotation : annotations) {
    const bool boundary = is_boundary(annotation.text);
    if (!boundary && !is_bad(annotation.text)) continue;
    const double first = std::clamp(annotation.onset * sfreq, 0.0, end);
    const double last = std::clamp((annotation.onset + annotation.duration.value_or(0)) * sfreq, 0.0, end);
    if (boundary || !(last > first)) {
      left = taken_out(left, std::llround(first), std::llround(first));
    } else {
      left = taken_out(left, static_cast<std::int64_t>(std::floor(first + kRounding)), static_cast<std::int64_t>(std::ceil(last - kRounding)));
    }
  }
  return left;
}

}  // namespace sslmed::eeg
