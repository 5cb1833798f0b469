#pragma once
// Pictures out of image files (PNG, JPEG), one a file, brought to one size.

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "data/origins.h"
#include "data/source.h"
#include "data/targets.h"
#include "transforms/geometry.h"

namespace sslmed::picture {

enum class Fit {
  kCrop,  // the shorter side gets the size, of the longer one the middle is taken
  kPad,   // the longer side gets the size, black is added around the shorter one
};

// What there is in an image, in pixels of its file.
struct FileTargets {
  std::vector<std::int64_t> shape;                        // rows and columns of the file
  data::Targets targets;                                  // points and boxes
  std::map<std::string, std::vector<std::int32_t>> runs;  // label maps of that shape: a value and how many cells have it, again and again, row by row
};

struct ImageSourceOptions {
  std::int64_t size = 224;  // pixels of their sides
  Fit fit = Fit::kCrop;
  bool whole = false;                // kCrop: the longer side stays whole, for a recipe that crops at random
  std::string modality = "images";   // of its samples
  std::string voi = "auto";          // io::ImageOptions::voi
  std::vector<std::string> labels;   // label maps of one channel, one file an image, which may be empty; they follow the picture as the target "labels"
  std::vector<FileTargets> objects;  // one an image, or none; they follow the picture under their names
};

class ImageSource : public data::Source {
 public:
  // `targets`: columns of labels, one entry an image. ValueError for columns that do not fit. No file is opened.
  ImageSource(data::Origins images, const ImageSourceOptions& options, std::map<std::string, std::vector<double>> targets = {});

  std::int64_t size() const override { return static_cast<std::int64_t>(images_.subject_codes.size()); }
  data::SampleInfo describe(std::int64_t index) const override;
  std::vector<std::int64_t> first_samples() const override;
  // Grey becomes three equal channels, transparency is left out, 16 bits become 8.
  data::Sample sample(std::int64_t index, const Draw& draw) const override;
  // What was found in files since the last call and did not stop their reading: the first file of each finding.
  std::vector<std::string> take_warnings() const;

 private:
  // From the grid of a file to that of its picture [rows, columns].
  transforms::Geometry file_geometry(std::int64_t height, std::int64_t width, const std::vector<std::int64_t>& shape) const;
  // Adds the objects of an image as they lie in its picture.
  void add_objects(data::Sample& sample, std::int64_t index, const std::vector<std::int64_t>& shape) const;
  // The label map of an image on the grid of its picture [rows, columns]; kUnlabeled around it and where there is no file.
  data::LabelMap label_map(std::int64_t index, const std::vector<std::int64_t>& shape, double aspect) const;
  void tell(const std::string& path, const std::vector<std::string>& found) const;

  data::Origins images_;
  ImageSourceOptions options_;
  std::map<std::string, std::vector<double>> targets_;
  // Findings whose words are the same but for their numbers are one, so that a hundred thousand files of a kind are told once.
  struct Told {
    std::mutex mutex;
    std::map<std::string, std::string> found;  // the words, and the text of the first file; empty once it was taken
  };
  mutable Told told_;
};

}  // namespace sslmed::picture
