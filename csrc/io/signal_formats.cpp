// The formats of signals: a new one is a reader and a row here.

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iterator>

#include "core/error.h"
#include "io/brainvision.h"
#include "io/edf.h"
#include "io/recording_store.h"
#include "io/signal_file.h"

namespace sslmed::io {
namespace {

struct SignalFormat {
  bool (*is)(const std::string& path, const std::string& head);  // by the path in lower case and the first bytes
  std::shared_ptr<const SignalFile> (*open)(const std::string& path);
};

bool has_ending(const std::string& path, const std::string& ending) {
  return path.size() >= ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
}

[[noreturn]] std::shared_ptr<const SignalFile> refuse_part(const std::string& path) {
  throw FormatError(path, "the header of a BrainVision recording (.vhdr)", "another of its files: give the .vhdr beside it");
}

std::shared_ptr<const SignalFile> open_stored(const std::string& path) {
  const std::string copy = stored_recording(path);
  if (std::error_code ignored; !std::filesystem::exists(copy, ignored))
    throw FormatError(path, "its converted copy in " + recording_store(), "none: convert it first (sslmed.io.convert_recordings)");
  return std::make_shared<const BrainVisionFile>(copy);
}

const SignalFormat kFormats[] = {
    {[](const std::string& path, const std::string& head) { return has_ending(path, ".vhdr") || head.find("Data Exchange Header File") != head.npos; },
     [](const std::string& path) -> std::shared_ptr<const SignalFile> { return std::make_shared<const BrainVisionFile>(path); }},
    {[](const std::string& path, const std::string& head) { return has_ending(path, ".vmrk") || (has_ending(path, ".eeg") && head.rfind("0       ", 0) != 0); },
     &refuse_part},
    {[](const std::string& path, const std::string&) { return has_ending(path, ".set") || has_ending(path, ".fif") || has_ending(path, ".fif.gz"); },
     &open_stored},
    // Last, as there are EDF files without an ending: what is none is refused by its first bytes.
    {[](const std::string&, const std::string&) { return true; },
     [](const std::string& path) -> std::shared_ptr<const SignalFile> { return std::make_shared<const EdfFile>(path); }},
};

}  // namespace

std::shared_ptr<const SignalFile> open_signals(const std::string& path) {
  std::string name = path, head;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  {
    const File file(path);
    head.resize(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 64)));
    file.read(head.data(), head.size(), 0);
  }
  return std::find_if(std::begin(kFormats), std::end(kFormats), [&](const SignalFormat& format) { return format.is(name, head); })->open(path);
}

}  // namespace sslmed::io
