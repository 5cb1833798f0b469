#pragma once
// Converted copies of recordings whose formats are read by other packages: BrainVision files of float32 in one folder, which
// Python writes (sslmed/io/recording_store.py) and which are read as the recordings that they are copies of.

#include <string>

namespace sslmed::io {

// The folder, for this process; it need not exist.
void set_recording_store(const std::string& folder);
std::string recording_store();

// Where the copy of a file is: a .vhdr in the folder, named after the file's name, path, size and time of change, and those of
// the .fdt beside it. ReadError where the file is not there.
std::string stored_recording(const std::string& path);

}  // namespace sslmed::io
