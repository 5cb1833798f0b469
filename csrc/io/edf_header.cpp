#include "io/edf_header.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "core/error.h"

namespace sslmed::io {
namespace {

constexpr int kMaxSignals = 9999;  // four digits
constexpr std::int64_t kMaxRecordBytes = std::int64_t{1} << 31;

std::string strip(std::string_view text) {
  // Some writers pad with NUL where the standard asks for blanks.
  const auto is_pad = [](char c) { return c == ' ' || c == '\0' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_pad(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_pad(text.back())) text.remove_suffix(1);
  return std::string(text);
}

bool is_utf8(const std::string& text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const int extra = c < 0x80 ? 0 : (c >= 0xC2 && c <= 0xDF) ? 1 : (c & 0xF0) == 0xE0 ? 2 : (c >= 0xF0 && c <= 0xF4) ? 3 : -1;
    if (extra < 0 || i + static_cast<std::size_t>(extra) >= text.size()) return false;
    for (int k = 1; k <= extra; ++k)
      if ((static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]) & 0xC0) != 0x80) return false;
    const auto next = extra > 0 ? static_cast<unsigned char>(text[i + 1]) : 0;
    // Overlong forms, surrogates and code points beyond 0x10FFFF are no UTF-8, and Python would refuse them.
    if ((c == 0xE0 && next < 0xA0) || (c == 0xED && next > 0x9F) || (c == 0xF0 && next < 0x90) || (c == 0xF4 && next > 0x8F)) return false;
    i += static_cast<std::size_t>(extra) + 1;
  }
  return true;
}

// Walks the fixed-width fields and knows how to complain about them.
class Fields {
 public:
  Fields(const File& file, std::string bytes, std::vector<std::string>& warnings) : file_(file), bytes_(std::move(bytes)), warnings_(warnings) {}

  std::string text(std::size_t offset, std::size_t width) const { return strip(std::string_view(bytes_).substr(offset, width)); }

  double number(std::size_t offset, std::size_t width, const std::string& what) {
    std::string raw = text(offset, width);
    const auto comma = raw.find(',');
    if (comma != std::string::npos && raw.find(',', comma + 1) == std::string::npos && raw.find('.') == std::string::npos) {
      raw[comma] = '.';
      warnings_.push_back(file_.path() + ": " + what + " is written with a decimal comma; read as " + raw);
    }
    const char* begin = raw.data() + (!raw.empty() && raw[0] == '+' ? 1 : 0);
    const char* end = raw.data() + raw.size();
    double value = 0;
    const auto result = std::from_chars(begin, end, value);
    if (begin == end || result.ptr != end || result.ec == std::errc::invalid_argument) refuse(what, "a number", offset, width);
    if (result.ec == std::errc::result_out_of_range) value = std::numeric_limits<double>::infinity();
    return value;
  }
  std::int64_t integer(std::size_t offset, std::size_t width, const std::string& what) {
    const double value = number(offset, width, what);  // "60.0" and "6E1" occur, and mean 60
    if (!(std::abs(value) < 1e15) || value != std::floor(value)) refuse(what, "a whole number", offset, width);
    return static_cast<std::int64_t>(value);
  }
  [[noreturn]] void refuse(const std::string& what, const char* expected, std::size_t offset, std::size_t width) const {
    throw FormatError(file_.path(), std::string(expected) + " as " + what, quote(std::string_view(bytes_).substr(offset, width)));
  }
  void append(const std::string& bytes) { bytes_ += bytes; }

 private:
  const File& file_;
  std::string bytes_;
  std::vector<std::string>& warnings_;
};

std::optional<int> digits(std::string_view text) {
  text = text.substr(std::min(text.size(), text.find_first_not_of(' ')));
  int value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || value < 0) return std::nullopt;
  return value;
}

// dd.mm.yy and hh.mm.ss with any separator; EDF+ repeats the date with four digits in the recording field.
std::optional<DateTime> parse_start(const std::string& date, const std::string& time, const std::string& recording) {
  if (date.size() < 8 || time.size() < 8) return std::nullopt;
  const auto day = digits(date.substr(0, 2)), month = digits(date.substr(3, 2)), year = digits(date.substr(6, 2));
  const auto hour = digits(time.substr(0, 2)), minute = digits(time.substr(3, 2)), second = digits(time.substr(6, 2));
  if (!day || !month || !year || !hour || !minute || !second) return std::nullopt;
  DateTime start{*year + (*year >= 85 ? 1900 : 2000), *month, *day, *hour, *minute, *second, 0};
  if (recording.rfind("Startdate ", 0) == 0 && recording.size() >= 21) {
    const auto full = digits(recording.substr(17, 4));  // "Startdate 02-MAR-2002"
    if (full && *full % 100 == *year && *full > 1800) start.year = *full;
  }
  if (start.month < 1 || start.month > 12 || start.day < 1 || start.day > days_in_month(start.month, start.year) || start.hour > 23 || start.minute > 59 ||
      start.second > 59)
    return std::nullopt;
  return start;
}

void set_scale(EdfSignal& signal, const std::string& path, std::vector<std::string>& warnings) {
  const double digital = signal.digital_max - signal.digital_min, physical = signal.physical_max - signal.physical_min;
  if (!std::isfinite(physical) || !std::isfinite(digital) || physical == 0 || digital == 0) {
    warnings.push_back(path + ": signal " + quote(signal.label) + " has no usable range (physical " + std::to_string(signal.physical_min) + ".." +
                       std::to_string(signal.physical_max) + ", digital " + std::to_string(signal.digital_min) + ".." + std::to_string(signal.digital_max) +
                       "); reading it will be refused");
    return;
  }
  if (digital < 0) warnings.push_back(path + ": signal " + quote(signal.label) + " has digital maximum below minimum; the scale is used as it is written");
  signal.gain = physical / digital;
  signal.offset = signal.physical_min - signal.gain * signal.digital_min;
  signal.has_scale = std::isfinite(signal.gain) && std::isfinite(signal.offset);
}

// Reconciles the record count of the header with the file's size.
void count_records(EdfHeader& header, std::int64_t declared, const File& file, std::vector<std::string>& warnings) {
  const std::int64_t data = static_cast<std::int64_t>(file.size()) - header.header_bytes;
  const std::int64_t present = header.record_bytes > 0 ? data / header.record_bytes : 0;
  const std::string& path = file.path();
  if (declared < -1) throw FormatError(path, "a record count of -1 or more", std::to_string(declared));
  header.n_records = declared;
  if (declared == -1) {
    header.n_records = present;
    warnings.push_back(path + ": the record count is -1 (the recording was not closed); " + std::to_string(present) + " whole records found");
  } else if (declared > present) {
    if (present == 0)
      throw FormatError(path, std::to_string(declared) + " records of " + std::to_string(header.record_bytes) + " bytes", std::to_string(data) + " bytes");
    header.n_records = present;
    warnings.push_back(path + ": cut short: the header says " + std::to_string(declared) + " records, " + std::to_string(present) + " whole ones are there");
  } else if (data > declared * header.record_bytes) {
    warnings.push_back(path + ": " + std::to_string(data - declared * header.record_bytes) + " bytes beyond the " + std::to_string(declared) +
                       " records of the header are ignored");
  }
}

// A text-mode copy turns every LF into CRLF and shifts the samples after it. Then no LF stands alone.
void refuse_text_mode_copy(const EdfHeader& header, const File& file) {
  const auto end = std::min<std::uint64_t>(file.size(), static_cast<std::uint64_t>(header.header_bytes) + (1u << 22));
  std::string bytes(end - static_cast<std::uint64_t>(header.header_bytes), '\0');
  file.read(bytes.data(), bytes.size(), static_cast<std::uint64_t>(header.header_bytes));
  std::size_t feeds = 0, alone = 0;
  for (std::size_t i = 1; i < bytes.size(); ++i)
    if (bytes[i] == '\n') {
      ++feeds;
      alone += bytes[i - 1] != '\r';
    }
  if (feeds >= 16 && alone == 0) throw FormatError(file.path(), "binary samples", "every LF preceded by CR: the file was damaged by a text-mode copy");
}

}  // namespace

int days_in_month(int month, int year) {
  constexpr std::array<int, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return kDays[static_cast<std::size_t>(month - 1)] + (month == 2 && leap ? 1 : 0);
}

std::string to_utf8(const std::string& bytes) {
  if (is_utf8(bytes)) return bytes;
  std::string out;
  for (const char c : bytes) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xC0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  return out;
}

EdfHeader read_edf_header(const File& file, std::vector<std::string>& warnings) {
  if (file.size() < 256) throw FormatError(file.path(), "an EDF header of at least 256 bytes", std::to_string(file.size()) + " bytes");
  std::string fixed(256, '\0');
  file.read(fixed.data(), 256, 0);
  EdfHeader header;
  const std::string version = strip(fixed.substr(0, 8));
  header.is_bdf = fixed.substr(0, 8) == std::string("\xff") + "BIOSEMI";
  if (!header.is_bdf && version != "0") throw FormatError(file.path(), "the version field of EDF ('0') or BDF ('\\xffBIOSEMI')", quote(fixed.substr(0, 8)));
  Fields fields(file, fixed, warnings);
  const std::string kind = fields.text(192, 44);
  header.is_plus = kind.rfind("EDF+", 0) == 0 || kind.rfind("BDF+", 0) == 0;
  header.says_discontinuous = header.is_plus && kind.size() > 4 && kind[4] == 'D';
  header.patient = to_utf8(fields.text(8, 80));
  header.recording = to_utf8(fields.text(88, 80));
  header.start = parse_start(fixed.substr(168, 8), fixed.substr(176, 8), header.recording);
  const std::int64_t declared_records = fields.integer(236, 8, "the number of records");
  header.record_duration = fields.number(244, 8, "the record duration");
  const std::int64_t n_signals = fields.integer(252, 4, "the number of signals");
  if (n_signals < 1 || n_signals > kMaxSignals) throw FormatError(file.path(), "1 to 9999 signals", std::to_string(n_signals));
  const auto ns = static_cast<std::size_t>(n_signals);
  header.header_bytes = 256 * (n_signals + 1);
  if (static_cast<std::int64_t>(file.size()) < header.header_bytes)
    throw FormatError(file.path(), "a header of " + std::to_string(header.header_bytes) + " bytes for " + std::to_string(n_signals) + " signals",
                      std::to_string(file.size()) + " bytes");
  const std::int64_t declared_header = fields.integer(184, 8, "the header's size");
  if (declared_header != header.header_bytes)
    warnings.push_back(file.path() + ": the header says that it has " + std::to_string(declared_header) + " bytes; " + std::to_string(header.header_bytes) +
                       " follow from its " + std::to_string(n_signals) + " signals and are used");
  std::string rest(256 * ns, '\0');
  file.read(rest.data(), rest.size(), 256);
  fields.append(rest);

  bool has_ordinary = false;
  for (std::size_t i = 0; i < ns; ++i) {
    const auto at = [&](std::size_t before, std::size_t width) { return 256 + before * ns + width * i; };
    EdfSignal signal;
    signal.label = to_utf8(fields.text(at(0, 16), 16));
    signal.transducer = to_utf8(fields.text(at(16, 80), 80));
    signal.unit = to_utf8(fields.text(at(96, 8), 8));
    signal.prefilter = to_utf8(fields.text(at(136, 80), 80));
    signal.is_annotation = signal.label == "EDF Annotations" || signal.label == "BDF Annotations";
    const std::string name = "of signal " + std::to_string(i) + " " + quote(signal.label);
    signal.samples_per_record = fields.integer(at(216, 8), 8, "the samples in a record " + name);
    if (signal.samples_per_record < (signal.is_annotation ? 0 : 1) || signal.samples_per_record > kMaxRecordBytes)
      throw FormatError(file.path(), "at least one sample in a record " + name, std::to_string(signal.samples_per_record));
    signal.byte_offset = header.record_bytes;
    header.record_bytes += signal.samples_per_record * header.sample_bytes();
    if (header.record_bytes > kMaxRecordBytes) throw FormatError(file.path(), "records of at most 2 GiB", "more at signal " + std::to_string(i));
    if (!signal.is_annotation) {
      has_ordinary = true;
      signal.physical_min = fields.number(at(104, 8), 8, "the physical minimum " + name);
      signal.physical_max = fields.number(at(112, 8), 8, "the physical maximum " + name);
      signal.digital_min = fields.number(at(120, 8), 8, "the digital minimum " + name);
      signal.digital_max = fields.number(at(128, 8), 8, "the digital maximum " + name);
      set_scale(signal, file.path(), warnings);
    }
    header.signals.push_back(std::move(signal));
  }
  if (!std::isfinite(header.record_duration) || header.record_duration < 0 || (has_ordinary && header.record_duration == 0))
    throw FormatError(file.path(), "a positive record duration", std::to_string(header.record_duration) + " s");
  count_records(header, declared_records, file, warnings);
  if (static_cast<std::int64_t>(file.size()) - header.header_bytes != header.n_records * header.record_bytes) refuse_text_mode_copy(header, file);
  return header;
}

}  // namespace sslmed::io
