#pragma once
// Converted copies of pictures whose formats are read by other packages (DICOM, WebP): TIFF files without compression in one
// folder, which Python writes (sslmed/io/picture_store.py) and which are read as the pictures that they are copies of.

#include <string>

namespace sslmed::io {

// The folder, for this process; it need not exist.
void set_picture_store(const std::string& folder);
std::string picture_store();

// Where the copy of a file is: a .tif in the folder, named after the file's name, path, size and time of change, and after how
// its gray values become light (ImageOptions::voi). ReadError where the file is not there.
std::string stored_picture(const std::string& path, const std::string& voi);

}  // namespace sslmed::io
