#pragma once
// Pictures out of slides at any scale, drawn while training: nothing is extracted beforehand. An index says where tissue is.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/lru.h"
#include "data/origins.h"
#include "data/source.h"
#include "io/slide.h"
#include "modalities/picture/tissue_runs.h"
#include "transforms/rasterize.h"

namespace sslmed::picture {

// Columns of an index, one row a slide.
struct SlideIndex {
  data::Origins slides;
  data::Texts tissue;                       // runs (tissue_runs.h)
  std::vector<std::int64_t> width, height;  // of level 0
  std::vector<double> mpp_x, mpp_y;         // µm per pixel of level 0
  std::vector<double> cell_x, cell_y;       // pixels of level 0 that a cell is wide and high
  std::vector<std::int64_t> columns, rows;  // cells
  std::vector<std::int64_t> cells;          // those with tissue
};

struct SlideSourceOptions {
  double mpp = 0.5;                 // µm per pixel of the pictures
  double mpp_high = 0;              // 0: always mpp; otherwise each picture's scale is drawn from [mpp, mpp_high], evenly in its logarithm
  std::int64_t size = 224;          // pixels of their sides
  bool random = false;              // middles drawn evenly over the tissue, as many as cover it once; otherwise a grid of pictures whose middles are in tissue
  double stride = 0;                // µm between pictures of the grid; 0: their sides
  std::size_t open = 64;            // slides at a time
  bool fast = true;                 // JPEG tiles read directly where they can be
  std::string modality = "slides";  // of its samples
  // What people drew on each slide, in pixels of level 0, or nothing: samples carry it as the label map "labels". A pixel has the value of the last polygon
  // that its middle is in; `unlabeled` where it is in none, and data::kUnlabeled beyond the slide.
  std::vector<transforms::Polygons> drawn;
  std::int32_t unlabeled = 0;
};

class SlideSource : public data::Source {
 public:
  // `targets`: columns of labels, one entry a slide. ValueError for columns that do not fit, or where no slide has tissue; FormatError, naming the
  // slide, for runs that do not fit.
  SlideSource(SlideIndex index, const SlideSourceOptions& options, std::map<std::string, std::vector<double>> targets = {});

  std::int64_t size() const override { return first_.back(); }
  // Where the corner is to within a pixel; of a random picture the place that it would have without its draw.
  data::SampleInfo describe(std::int64_t index) const override;
  std::vector<std::int64_t> first_samples() const override { return first_; }
  data::Sample sample(std::int64_t index, const Draw& draw) const override;
  // The labels [height, width] of a part of a slide whose corner is at (x, y), in pixels of level 0, at `mpp` µm per pixel.
  std::vector<std::int32_t> labels(std::int64_t slide, double x, double y, double mpp, std::int64_t width, std::int64_t height) const;

 private:
  struct Place {
    double x, y;  // the middle, in pixels of level 0
  };
  void check_columns() const;
  std::shared_ptr<const io::Slide> opened(std::int64_t slide) const;
  std::int64_t slide_of(std::int64_t index) const;
  const std::vector<TissueRun>& runs(std::int64_t slide) const;
  std::int64_t count(std::int64_t slide) const;
  // `random` [3] in [0, 1): which cell, and where in it.
  Place place(std::int64_t slide, std::int64_t number, const double random[3]) const;
  Place in_cell(std::int64_t slide, std::int64_t cell, double x, double y) const;
  template <class F>
  bool over_grid(std::int64_t slide, F&& take) const;  // F(column, row, how many) of each stretch of grid pictures; true from it stops

  SlideIndex index_;
  SlideSourceOptions options_;
  std::map<std::string, std::vector<double>> targets_;
  std::vector<std::int64_t> first_;  // samples of each slide, and how many there are in all
  mutable Lru<std::int64_t, io::Slide> open_;
  mutable Lru<std::int64_t, io::SlideLayout> layouts_;  // of many more: most slides of a large archive are opened anew for each picture
};

}  // namespace sslmed::picture
