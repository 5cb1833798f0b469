#include "io/brainvision_header.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>

#include "core/error.h"

namespace sslmed::io {
namespace {

constexpr std::int64_t kMostChannels = 1 << 16;
constexpr double kMostSamples = 1e15;

std::string trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\0'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

std::string lowered(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// A finite number, all of the text; a decimal comma counts as a point.
std::optional<double> number_of(std::string text) {
  std::replace(text.begin(), text.end(), ',', '.');
  const char* begin = text.data() + (!text.empty() && text[0] == '+' ? 1 : 0);
  double value = 0;
  const auto result = std::from_chars(begin, text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<std::int64_t> whole_of(const std::string& text) {
  const auto value = number_of(text);
  if (!value || std::abs(*value) > kMostSamples || *value != std::floor(*value)) return std::nullopt;
  return static_cast<std::int64_t>(*value);
}

// Fields between commas; a comma within a field is written "\1".
std::vector<std::string> fields_of(const std::string& text) {
  std::vector<std::string> fields(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',') {
      fields.emplace_back();
    } else if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '1') {
      fields.back() += ',';
      ++i;
    } else {
      fields.back() += text[i];
    }
  }
  for (auto& field : fields) field = trimmed(field);
  return fields;
}

using Section = std::map<std::string, std::string>;

struct Sections {
  std::string title;
  std::map<std::string, Section> by_name;  // names and keys in lower case; of a key given twice the first counts
  std::map<std::string, std::vector<std::pair<std::string, std::string>>> in_order;

  std::string get(const std::string& section, const std::string& key) const {
    const auto found = by_name.find(section);
    if (found == by_name.end()) return "";
    const auto value = found->second.find(key);
    return value == found->second.end() ? "" : value->second;
  }
};

Sections sections_of(const std::string& bytes) {
  std::string text = to_utf8(bytes);
  if (text.rfind("\xef\xbb\xbf", 0) == 0) text.erase(0, 3);
  Sections found;
  std::string section;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t stop = std::min(text.find('\n', at), text.size());
    const std::string line = trimmed(std::string_view(text).substr(at, stop - at));
    at = stop + 1;
    if (line.empty() || line[0] == ';') continue;
    if (found.title.empty()) {
      found.title = line;
    } else if (line.front() == '[' && line.back() == ']') {
      section = lowered(line.substr(1, line.size() - 2));
      found.by_name[section];
    } else if (section != "comment") {  // free text
      const auto equals = line.find('=');
      if (equals == std::string::npos) continue;
      const std::string key = lowered(trimmed(line.substr(0, equals))), value = trimmed(line.substr(equals + 1));
      if (found.by_name[section].emplace(key, value).second) found.in_order[section].emplace_back(key, value);
    }
  }
  return found;
}

bool is_titled(const std::string& title, const char* kind) {
  const std::string low = lowered(title);
  return low.find("vision") != std::string::npos && low.find(std::string("data exchange ") + kind + " file") != std::string::npos;
}

void refuse_all_but_continuous(const std::string& path, const Sections& text) {
  const auto is = [&](const char* key, const char* usual) {
    const std::string value = lowered(text.get("common infos", key));
    return value.empty() || value == usual;
  };
  if (!is("dataformat", "binary"))
    throw FormatError(path, "DataFormat=BINARY", quote(text.get("common infos", "dataformat")) + ": export the recording in a binary format");
  if (!is("datatype", "timedomain"))
    throw FormatError(path, "DataType=TIMEDOMAIN", quote(text.get("common infos", "datatype")) + ": export the signal itself, not its spectrum");
  if (!is("segmentationtype", "notsegmented"))
    throw FormatError(path, "a continuous recording (SegmentationType=NOTSEGMENTED)",
                      quote(text.get("common infos", "segmentationtype")) + ": export the recording before it was cut into segments");
  if (!is("averaged", "no"))
    throw FormatError(path, "a recording that is no average (Averaged=NO)",
                      quote(text.get("common infos", "averaged")) + ": export the recording before it was averaged");
  if (!text.get("binary infos", "usebigendianorder").empty() && lowered(text.get("binary infos", "usebigendianorder")) != "no")
    throw FormatError(path, "UseBigEndianOrder=NO", quote(text.get("binary infos", "usebigendianorder")) + ": export the recording in little-endian order");
}

BrainVisionNumber number_format(const std::string& path, const std::string& text) {
  const std::string name = lowered(text);
  if (name == "int_16") return BrainVisionNumber::kInt16;
  if (name == "uint_16") return BrainVisionNumber::kUint16;
  if (name == "int_32") return BrainVisionNumber::kInt32;
  if (name == "ieee_float_32") return BrainVisionNumber::kFloat32;
  throw FormatError(path, "BinaryFormat INT_16, UINT_16, INT_32 or IEEE_FLOAT_32", quote(text));
}

BrainVisionChannel channel_of(const std::string& path, std::int64_t number, const std::string& text) {
  const std::string where = "channel Ch" + std::to_string(number);
  const auto fields = fields_of(text);
  BrainVisionChannel channel;
  channel.name = fields[0];
  if (channel.name.empty()) throw FormatError(path, "a line with the name of " + where, text.empty() ? "none" : quote(text));
  if (fields.size() > 2 && !fields[2].empty()) {
    const auto resolution = number_of(fields[2]);
    if (!resolution) throw FormatError(path, "a number as the resolution of " + where, quote(fields[2]));
    channel.resolution = *resolution;
  }
  channel.unit = fields.size() > 3 && !fields[3].empty() ? fields[3] : "\xc2\xb5V";
  return channel;
}

std::optional<DateTime> date_of(const std::string& text) {
  if (text.size() < 14 || !std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); })) return std::nullopt;
  const auto part = [&](std::size_t at, std::size_t width) { return at + width <= text.size() ? std::atoi(text.substr(at, width).c_str()) : 0; };
  const DateTime date{part(0, 4), part(4, 2), part(6, 2), part(8, 2), part(10, 2), part(12, 2), part(14, 6)};
  const bool holds = date.year > 1800 && date.month >= 1 && date.month <= 12 && date.day >= 1 && date.day <= days_in_month(date.month, date.year) &&
                     date.hour < 24 && date.minute < 60 && date.second < 60;
  return holds ? std::optional(date) : std::nullopt;
}

}  // namespace

std::int64_t BrainVisionHeader::sample_bytes() const { return number == BrainVisionNumber::kInt16 || number == BrainVisionNumber::kUint16 ? 2 : 4; }

BrainVisionHeader parse_brainvision_header(const std::string& path, const std::string& bytes, std::vector<std::string>& warnings) {
  const Sections text = sections_of(bytes);
  if (!is_titled(text.title, "header")) throw FormatError(path, "'Brain Vision Data Exchange Header File' as the first line", quote(text.title));
  refuse_all_but_continuous(path, text);
  BrainVisionHeader header;
  const auto name_of = [&](const char* key) {
    std::string name = text.get("common infos", key);
    if (const auto at = name.find("$b"); at != std::string::npos) name.replace(at, 2, std::filesystem::path(path).stem().string());
    std::replace(name.begin(), name.end(), '\\', '/');
    return name;
  };
  header.data_file = name_of("datafile");
  header.marker_file = name_of("markerfile");
  const std::string orientation = lowered(text.get("common infos", "dataorientation"));
  if (orientation != "multiplexed" && orientation != "vectorized")
    throw FormatError(path, "DataOrientation MULTIPLEXED or VECTORIZED", quote(text.get("common infos", "dataorientation")));
  header.vectorized = orientation == "vectorized";
  header.number = number_format(path, text.get("binary infos", "binaryformat"));
  const auto interval = number_of(text.get("common infos", "samplinginterval"));
  if (!interval || !(*interval > 0) || !std::isfinite(1e6 / *interval))
    throw FormatError(path, "SamplingInterval in µs, above 0", quote(text.get("common infos", "samplinginterval")));
  header.sfreq = 1e6 / *interval;
  // The interval of 300 Hz has no end of digits.
  if (const double whole = std::round(header.sfreq); std::abs(header.sfreq - whole) < 1e-9 * whole) header.sfreq = whole;
  const auto channels = whole_of(text.get("common infos", "numberofchannels"));
  if (!channels || *channels < 1 || *channels > kMostChannels)
    throw FormatError(path, "NumberOfChannels from 1 to " + std::to_string(kMostChannels), quote(text.get("common infos", "numberofchannels")));
  for (std::int64_t i = 1; i <= *channels; ++i) header.channels.push_back(channel_of(path, i, text.get("channel infos", "ch" + std::to_string(i))));
  if (const std::string points = text.get("common infos", "datapoints"); !points.empty()) {
    header.samples = whole_of(points);
    if (!header.samples || *header.samples < 0) {
      warnings.push_back(path + ": DataPoints=" + quote(points) + " is no number of samples; the size of the data file gives it");
      header.samples.reset();
    }
  }
  return header;
}

BrainVisionMarkers parse_brainvision_markers(const std::string& path, const std::string& bytes, double sfreq) {
  const Sections text = sections_of(bytes);
  if (!is_titled(text.title, "marker")) throw FormatError(path, "'Brain Vision Data Exchange Marker File' as the first line", quote(text.title));
  BrainVisionMarkers markers;
  const auto found = text.in_order.find("marker infos");
  if (found == text.in_order.end()) return markers;
  for (const auto& [key, value] : found->second) {
    if (key.rfind("mk", 0) != 0) continue;
    // Type, description, position (from 1), size in samples, channel (0: all), date
    const auto fields = fields_of(value);
    const auto position = fields.size() > 2 ? whole_of(fields[2]) : std::nullopt;
    const auto size = fields.size() > 3 ? whole_of(fields[3]) : std::nullopt;
    if (!position || *position < 0 || (size && *size < 0)) {
      ++markers.malformed;
      continue;
    }
    Annotation annotation;
    annotation.onset = static_cast<double>(std::max<std::int64_t>(*position - 1, 0)) / sfreq;
    if (size) annotation.duration = static_cast<double>(*size) / sfreq;
    annotation.text = fields[0] + "/" + fields[1];
    if (!markers.start && fields[0] == "New Segment" && fields.size() > 5) markers.start = date_of(fields[5]);
    markers.annotations.push_back(std::move(annotation));
  }
  std::stable_sort(markers.annotations.begin(), markers.annotations.end(), [](const Annotation& a, const Annotation& b) { return a.onset < b.onset; });
  return markers;
}

}  // namespace sslmed::io
