#include "io/folders.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/thread_pool.h"

namespace sslmed::io {
namespace {

using Identity = std::pair<std::uint64_t, std::uint64_t>;  // device and inode

struct FolderEntry {
  std::string name;
  unsigned char type = DT_UNKNOWN;
};

std::string in_lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

bool ends_with(const std::string& text, const std::string& ending) {
  return text.size() >= ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

std::string joined_path(const std::string& folder, const std::string& name) { return folder.empty() ? name : folder + '/' + name; }

// "01" of sub-01 at the start of a name or after "_", the last one; empty: none.
std::string entity_of(const std::string& name, const std::string& key) {
  const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+'; };
  for (auto at = name.rfind(key + '-'); at != std::string::npos; at = at == 0 ? std::string::npos : name.rfind(key + '-', at - 1)) {
    if (at != 0 && name[at - 1] != '_') continue;
    const auto first = name.begin() + static_cast<std::ptrdiff_t>(at + key.size() + 1);
    const auto last = std::find_if_not(first, name.end(), is_part);
    if (last != first) return {first, last};
  }
  return "";
}

// Everything in a folder but "." and "..", sorted; the error's number where it cannot be read.
int entries_of(const std::string& path, std::vector<FolderEntry>& into) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return errno;
  errno = 0;
  while (const dirent* entry = ::readdir(folder))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) into.push_back({entry->d_name, entry->d_type});
  const int failed = errno;
  ::closedir(folder);
  std::sort(into.begin(), into.end(), [](const FolderEntry& a, const FolderEntry& b) { return a.name < b.name; });
  return failed;
}

class FolderWalker {
 public:
  FolderWalker(const std::string& root, const FolderNames& names) : root_(root), names_(names) {}

  FolderWalk found;

  // Looks into a folder; `path` and `above` are below the root.
  void folder(const std::string& path) {
    std::vector<FolderEntry> entries;
    if (const int failed = entries_of(full(path), entries)) found.unreadable.emplace_back(full(path), std::strerror(failed));
    above_.push_back({path, std::nullopt});
    const auto outer = std::exchange(number_, -1);
    for (const auto& one : entries) entry(path, one);
    number_ = outer;
    above_.pop_back();
  }
  void entry(const std::string& path, const FolderEntry& entry) {
    struct stat status {};
    const bool unsure = entry.type != DT_REG && entry.type != DT_DIR;
    const bool missing = unsure && ::stat(full(joined_path(path, entry.name)).c_str(), &status) != 0;
    if (entry.type != DT_DIR && (!unsure || missing || !S_ISDIR(status.st_mode)))
      return file(path, entry.name, missing || (unsure && !S_ISREG(status.st_mode)));
    if (entry.name.front() == '.') return;
    const std::string inner = joined_path(path, entry.name);
    if (unsure && is_around({status.st_dev, status.st_ino})) {
      found.loops.push_back(full(inner));
      return;
    }
    folder(inner);
  }
  // Entries of the root are looked at one by one.
  void inside_root() { above_.push_back({"", std::nullopt}); }

 private:
  struct Above {
    std::string path;
    std::optional<Identity> identity;
  };
  std::string full(const std::string& path) const { return path.empty() ? (root_.empty() ? "/" : root_) : root_ + '/' + path; }
  bool is_around(const Identity& identity) {
    return std::any_of(above_.begin(), above_.end(), [&](Above& one) {
      struct stat status {};
      if (!one.identity) one.identity = ::stat(full(one.path).c_str(), &status) == 0 ? Identity{status.st_dev, status.st_ino} : Identity{};
      return *one.identity == identity;
    });
  }
  void file(const std::string& path, const std::string& name, bool missing) {
    ++found.total;
    const std::string lower = in_lower_case(name);
    const auto has = [&](const std::string& ending) { return ends_with(lower, ending); };
    const auto ending = std::find_if(names_.endings.begin(), names_.endings.end(), has);
    const bool known = ending != names_.endings.end();
    const auto marked = [&](const std::string& mark) { return lower.find(mark) != std::string::npos; };
    if (!known && (std::none_of(names_.marks.begin(), names_.marks.end(), marked) || std::any_of(names_.unmarked.begin(), names_.unmarked.end(), has))) {
      if (name.front() == '.') return;
      const auto dot = lower.rfind('.');
      const auto [at, is_new] = found.other.try_emplace(dot == std::string::npos ? "" : lower.substr(dot), 0, "");
      if (is_new) at->second.second = full(joined_path(path, name));
      ++at->second.first;
      return;
    }
    if (number_ < 0) {
      number_ = static_cast<std::int64_t>(found.folders.size());
      found.folders.push_back(path);
    }
    FolderFile file{number_, name, known ? ending - names_.endings.begin() : -1, missing, {}};
    for (const auto& key : names_.entities) file.values.push_back(entity_of(name, key));
    found.files.push_back(std::move(file));
  }

  const std::string& root_;
  const FolderNames& names_;
  std::vector<Above> above_;
  std::int64_t number_ = -1;  // of the folder in `found`; -1: not there yet
};

void append(FolderWalk& to, FolderWalk&& from) {
  const auto shift = static_cast<std::int64_t>(to.folders.size());
  std::move(from.folders.begin(), from.folders.end(), std::back_inserter(to.folders));
  for (auto& file : from.files) file.folder += shift;
  std::move(from.files.begin(), from.files.end(), std::back_inserter(to.files));
  std::move(from.loops.begin(), from.loops.end(), std::back_inserter(to.loops));
  std::move(from.unreadable.begin(), from.unreadable.end(), std::back_inserter(to.unreadable));
  for (auto& [ending, counted] : from.other) {
    const auto [at, is_new] = to.other.try_emplace(ending, counted);
    if (!is_new) at->second.first += counted.first;
  }
  to.total += from.total;
}

// Calls body(0 … n) from several threads; what one throws is thrown here, that of the lowest number first.
void in_threads(std::size_t n, unsigned threads, const std::function<void(std::size_t)>& body) {
  std::vector<std::exception_ptr> failed(n);
  std::atomic<std::size_t> next{0};
  {
    ThreadPool pool;
    const auto work = [&](unsigned) {
      for (std::size_t i = next++; i < n; i = next++) {
        try {
          body(i);
        } catch (...) {
          failed[i] = std::current_exception();
        }
      }
    };
    pool.start(static_cast<unsigned>(std::clamp<std::size_t>(n, 1, std::max(1U, threads))), work, [] {});
  }
  for (const auto& error : failed)
    if (error) std::rethrow_exception(error);
}

}  // namespace

FolderWalk walk_folder(const std::string& root, const FolderNames& names, unsigned threads) {
  std::vector<FolderEntry> entries;
  if (const int failed = entries_of(root, entries)) throw ReadError(root, "cannot be listed", failed);
  const std::string base = root.substr(0, root.find_last_not_of('/') + 1);
  // Some entries a task, so that their folders' numbers are few to put together.
  constexpr std::size_t kEntries = 64;
  std::vector<FolderWalk> parts((entries.size() + kEntries - 1) / kEntries);
  in_threads(parts.size(), threads, [&](std::size_t part) {
    FolderWalker walker(base, names);
    walker.inside_root();
    for (std::size_t i = part * kEntries; i < std::min(entries.size(), (part + 1) * kEntries); ++i) walker.entry("", entries[i]);
    parts[part] = std::move(walker.found);
  });
  FolderWalk all;
  for (auto& part : parts) append(all, std::move(part));
  return all;
}

DistinctFiles read_distinct(const std::vector<std::string>& paths, unsigned threads, std::uint64_t most) {
  std::unordered_map<std::string, std::int64_t> known;
  std::mutex lock;
  std::vector<std::int64_t> numbers(paths.size());
  in_threads(paths.size(), threads, [&](std::size_t i) {
    const File file(paths[i]);
    if (file.size() > most) throw FormatError(paths[i], "at most " + std::to_string(most) + " bytes", std::to_string(file.size()));
    std::string bytes(file.size(), '\0');
    file.read(bytes.data(), bytes.size(), 0);
    const std::lock_guard<std::mutex> guard(lock);
    numbers[i] = known.try_emplace(std::move(bytes), static_cast<std::int64_t>(known.size())).first->second;
  });
  // Numbers are in the order in which threads came.
  std::vector<const std::string*> contents(known.size());
  for (const auto& [bytes, number] : known) contents[static_cast<std::size_t>(number)] = &bytes;
  std::vector<std::int64_t> code(known.size(), -1);
  DistinctFiles found;
  for (const auto number : numbers) {
    auto& own = code[static_cast<std::size_t>(number)];
    if (own < 0) {
      own = static_cast<std::int64_t>(found.contents.size());
      found.contents.push_back(*contents[static_cast<std::size_t>(number)]);
    }
    found.codes.push_back(own);
  }
  return found;
}

}  // namespace sslmed::io
