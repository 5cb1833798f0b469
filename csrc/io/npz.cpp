#include "io/npz.h"

#include <map>
#include <vector>

#include "core/error.h"

namespace sslmed::io {
namespace {

constexpr std::size_t kUsualStart = 256;  // NumPy's headers have 128 bytes unless there are many axes
constexpr std::size_t kNpzAlignment = 64;

// Bytes to leave free in front of a header, so that values are aligned.
std::size_t before_header(const NpyHeader& header) noexcept { return (kNpzAlignment - header.begin % kNpzAlignment) % kNpzAlignment; }

std::string array_name(const std::string& member) { return member.ends_with(".npy") ? member.substr(0, member.size() - 4) : member; }

}  // namespace

NpzFile::NpzFile(const std::string& path, const std::optional<std::vector<std::string>>& names) : file_(path) {
  const auto members = zip_members(file_);
  std::map<std::string, const ZipMember*> known;
  std::vector<std::string> all;
  std::string listed;
  for (const auto& member : members) {
    all.push_back(array_name(member.name));
    listed += (listed.empty() ? "" : ", ") + quote(all.back());
    if (!known.emplace(all.back(), &member).second) throw FormatError(path, "one array of each name", "two of the name " + quote(all.back()));
  }
  for (const auto& name : names ? *names : all) {
    const auto found = known.find(name);
    if (found == known.end()) throw FormatError(path, "an array " + quote(name), listed.empty() ? "no arrays" : listed);
    arrays_.push_back(describe(name, *found->second));
  }
}

std::string NpzFile::where(const std::string& name) const { return file_.path() + ": array " + quote(name); }

NpzArray NpzFile::describe(const std::string& name, const ZipMember& member) const {
  NpzArray out{name, {}, member};
  const std::string named = where(out.name);
  std::vector<std::uint8_t> start(kUsualStart);
  std::size_t found = zip_start(file_, member, start.data(), start.size());
  if (const std::size_t needed = npy_values_begin(named, start.data(), found); needed > start.size()) {
    start.resize(needed);
    found = zip_start(file_, member, start.data(), start.size());
  }
  out.header = parse_npy_header(named, start.data(), found);
  if (out.header.begin + out.header.bytes != member.size)
    throw FormatError(named,
                      std::to_string(out.header.bytes) + " bytes of values after a header of " + std::to_string(out.header.begin) + ", as its shape has it",
                      std::to_string(member.size) + " bytes in all");
  return out;
}

std::size_t NpzFile::room(const NpzArray& array) noexcept { return before_header(array.header) + static_cast<std::size_t>(array.member.size); }

std::size_t NpzFile::read(const NpzArray& array, std::uint8_t* into) const {
  const std::size_t first = before_header(array.header), begin = first + array.header.begin;
  // A damaged header was refused by describe(), or is another one than then: the checksum of both is that of the directory.
  zip_read(file_, array.member, into + first);
  finish_npy_values(where(array.name), array.header, into + begin);
  return begin;
}

}  // namespace sslmed::io
