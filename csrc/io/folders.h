#pragma once
// Files of folders by their names, with no call to the system for a single file, and many small files at once.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sslmed::io {

struct FolderFile {
  std::int64_t folder = 0;  // into FolderWalk::folders
  std::string name;
  std::int64_t ending = -1;         // the first of the endings that its name has, in any case; -1: none, but one of the marks
  bool missing = false;             // a link to nothing
  std::vector<std::string> values;  // of the entities that are asked for: "01" of sub-01; empty: none
};

// Which files are listed, by their names in lower case.
struct FolderNames {
  std::vector<std::string> endings;
  std::vector<std::string> marks;     // parts of names
  std::vector<std::string> unmarked;  // endings of names that marks do not count for
  std::vector<std::string> entities;  // such as "sub" and "ses", as BIDS has them in names
};

// Names of the folder and of folders within, in the order of their bytes, folders where their names are. Folders whose names start with "." are not
// looked into. Links are followed, but not back to a folder that they are in.
struct FolderWalk {
  std::vector<std::string> folders;                                   // paths below the root, "" for itself
  std::vector<FolderFile> files;                                      // those whose names have one of the endings or marks
  std::vector<std::string> loops;                                     // paths of links to a folder around them
  std::vector<std::pair<std::string, std::string>> unreadable;        // folders, and why
  std::map<std::string, std::pair<std::int64_t, std::string>> other;  // by the ending after the last dot: how many other files, and the first one's path
  std::int64_t total = 0;                                             // files of any name
};

// ReadError where `root` is no folder.
FolderWalk walk_folder(const std::string& root, const FolderNames& names, unsigned threads = 4);

struct DistinctFiles {
  std::vector<std::int64_t> codes;    // of each path, into contents
  std::vector<std::string> contents;  // each once, in the order of the paths
};

// The bytes of small files. ReadError for one that cannot be read, FormatError for one of more than `most` bytes: the first of them.
DistinctFiles read_distinct(const std::vector<std::string>& paths, unsigned threads = 4, std::uint64_t most = std::uint64_t{1} << 26);

}  // namespace sslmed::io
