#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "core/error.h"
#include "io/folders.h"
#include "temporary.h"

using namespace sslmed;
using sslmed::testing::TemporaryFolder;

TEST_CASE("a folder's files are listed by their endings, in order, through links") {
  const TemporaryFolder folder;
  for (const char* inner : {"b/eeg", "a/eeg", ".git", "elsewhere"}) std::filesystem::create_directories(folder / inner);
  for (const char* name : {"b/eeg/x_EEG.EDF", "a/eeg/y_eeg.edf", "a/eeg/y_eeg.json", "a/eeg/y_eeg.cnt", ".git/z_eeg.edf", "elsewhere/.h_eeg.edf", "top.txt"})
    folder.write(name, "x");
  std::filesystem::create_symlink(folder / "nothing", folder / "a/eeg/w_eeg.edf");
  std::filesystem::create_directory_symlink(folder.path(), folder / "a/around");
  std::filesystem::create_directory_symlink(folder / "b", folder / "c");
  for (const unsigned threads : {1U, 4U}) {
    const auto found = io::walk_folder(folder.path().string() + "/", {{"_eeg.edf"}, {"y_"}, {".json"}, {}}, threads);
    std::vector<std::string> names;
    for (const auto& file : found.files)
      names.push_back(found.folders.at(static_cast<std::size_t>(file.folder)) + ":" + file.name + (file.missing ? "?" : "") + (file.ending < 0 ? "!" : ""));
    CHECK(names ==
          std::vector<std::string>{"a/eeg:w_eeg.edf?", "a/eeg:y_eeg.cnt!", "a/eeg:y_eeg.edf", "b/eeg:x_EEG.EDF", "c/eeg:x_EEG.EDF", "elsewhere:.h_eeg.edf"});
    CHECK(found.loops == std::vector<std::string>{folder / "a/around"});
    CHECK(found.other.at(".json") == std::pair<std::int64_t, std::string>{1, folder / "a/eeg/y_eeg.json"});
    CHECK(found.other.at(".txt").first == 1);
    CHECK(found.total == 8);
  }
  CHECK_THROWS_AS(io::walk_folder(folder / "none", io::FolderNames{}), ReadError);
}

TEST_CASE("entities of names are the last ones of their keys") {
  const TemporaryFolder folder;
  folder.write("sub-01_ses-a+b_task-x_run-_eeg.edf", "");
  folder.write("xsub-02_sub-3_sub-_eeg.edf", "");
  const auto found = io::walk_folder(folder.path().string(), {{".edf"}, {}, {}, {"sub", "ses", "run"}});
  CHECK(found.files.at(0).values == std::vector<std::string>{"01", "a+b", ""});
  CHECK(found.files.at(1).values == std::vector<std::string>{"3", "", ""});
}

TEST_CASE("equal files are kept once") {
  const TemporaryFolder folder;
  std::vector<std::string> paths;
  for (int i = 0; i < 100; ++i) paths.push_back(folder.write("f" + std::to_string(i), i % 3 == 2 ? "" : std::string(1000, static_cast<char>('b' - i % 3))));
  for (const unsigned threads : {1U, 3U}) {
    const auto found = io::read_distinct(paths, threads);
    CHECK(found.contents == std::vector<std::string>{std::string(1000, 'b'), std::string(1000, 'a'), ""});
    for (std::size_t i = 0; i < paths.size(); ++i) CHECK(found.codes[i] == static_cast<std::int64_t>(i % 3));
  }
  CHECK(io::read_distinct({}).contents.empty());
  CHECK_THROWS_AS(io::read_distinct(paths, 2, 999), FormatError);
  paths.push_back(folder / "none");
  CHECK_THROWS_AS(io::read_distinct(paths), ReadError);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_AS(io::read_distinct({folder / "pipe"}), ReadError);
}
