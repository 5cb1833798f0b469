#include "modalities/picture/slide_source.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "modalities/picture/slide_region.h"

namespace sslmed::picture {
namespace {

constexpr std::size_t kLayouts = 1 << 15;

}  // namespace

SlideSource::SlideSource(SlideIndex index, const SlideSourceOptions& options, std::map<std::string, std::vector<double>> targets)
    : index_(std::move(index)), options_(options), targets_(std::move(targets)), open_(options.open), layouts_(kLayouts) {
  require(options.mpp > 0 && std::isfinite(options.mpp), "mpp", options.mpp, "µm per pixel must be positive");
  require(options.mpp_high == 0 || (options.mpp_high >= options.mpp && std::isfinite(options.mpp_high)), "mpp_high", options.mpp_high,
          "µm per pixel must be 0 (the same as mpp) or at least mpp");
  require(options.size >= 1 && options.size <= (1 << 14), "size", options.size, "pixels must be within 1 and 16,384");
  require(options.stride == 0 || (options.stride >= options.mpp && std::isfinite(options.stride)), "stride", options.stride,
          "µm must be 0 (pictures adjoin) or at least a pixel");
  require(options.open >= 1, "open", options.open, "must be at least 1 slide");
  check_columns();
  if (!options_.drawn.empty() && options_.drawn.size() != index_.cells.size())
    throw ValueError("drawn: has polygons of " + std::to_string(options_.drawn.size()) + " slides, expected those of each of " +
                     std::to_string(index_.cells.size()));
  for (auto& polygons : options_.drawn) polygons.check();
  const auto n = static_cast<std::int64_t>(index_.cells.size());
  first_.reserve(static_cast<std::size_t>(n) + 1);
  first_.push_back(0);
  for (std::int64_t i = 0; i < n; ++i) first_.push_back(first_.back() + count(i));
  if (first_.back() == 0) throw ValueError("no slide of the index has tissue");
}

void SlideSource::check_columns() const {
  const auto n = index_.cells.size();
  const auto fits = [n](const auto&... column) { return ((column.size() == n) && ...); };
  if (!fits(index_.width, index_.height, index_.mpp_x, index_.mpp_y, index_.cell_x, index_.cell_y, index_.columns, index_.rows))
    throw ValueError("the columns of an index of slides have different lengths");
  index_.slides.check(n);
  for (const auto& [name, column] : targets_)
    if (column.size() != n)
      throw ValueError("targets: " + quote(name) + " has " + std::to_string(column.size()) + " values, expected one for each of " + std::to_string(n) +
                       " slides");
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  for (std::size_t i = 0; i < n; ++i) {
    const auto positive = [](double value) { return value > 0 && std::isfinite(value); };
    const bool sound = index_.width[i] > 0 && index_.height[i] > 0 && positive(index_.mpp_x[i]) && positive(index_.mpp_y[i]) && positive(index_.cell_x[i]) &&
                       positive(index_.cell_y[i]) && index_.columns[i] > 0 && index_.rows[i] > 0 && index_.columns[i] < kMost / index_.rows[i] &&
                       index_.cells[i] >= 0 && index_.cells[i] <= index_.columns[i] * index_.rows[i];
    if (!sound) throw ValueError(index_.slides.paths.at(static_cast<std::int64_t>(i)) + ": an index of slides needs positive sizes, scales and cells");
  }
}

const std::vector<TissueRun>& SlideSource::runs(std::int64_t slide) const {
  thread_local std::vector<TissueRun> found;
  const auto i = static_cast<std::size_t>(slide);
  std::int64_t total = 0;
  try {
    read_tissue_runs(index_.tissue.view(slide), index_.columns[i] * index_.rows[i], found);
  } catch (const ValueError& error) {
    throw FormatError(index_.slides.paths.at(slide), "an index with the cells that have tissue", error.what());
  }
  for (const auto& run : found) total += run.last - run.first;
  if (total != index_.cells[i])
    throw FormatError(index_.slides.paths.at(slide), std::to_string(index_.cells[i]) + " cells with tissue in the index", std::to_string(total));
  return found;
}

template <class F>
bool SlideSource::over_grid(std::int64_t slide, F&& take) const {
  const auto i = static_cast<std::size_t>(slide);
  const double side = static_cast<double>(options_.size) * options_.mpp, stride = options_.stride > 0 ? options_.stride : side;
  // Middles of pictures in cells: the first one's and the way to the next.
  const double first_x = side / 2 / index_.mpp_x[i] / index_.cell_x[i], step_x = stride / index_.mpp_x[i] / index_.cell_x[i];
  const double first_y = side / 2 / index_.mpp_y[i] / index_.cell_y[i], step_y = stride / index_.mpp_y[i] / index_.cell_y[i];
  const auto columns = index_.columns[i];
  const auto& tissue = runs(slide);
  auto run = tissue.begin();
  for (std::int64_t row = 0;; ++row) {
    const auto cell_row = static_cast<std::int64_t>(std::floor(first_y + static_cast<double>(row) * step_y));
    if (cell_row >= index_.rows[i]) return false;
    while (run != tissue.end() && run->last <= cell_row * columns) ++run;
    for (auto at = run; at != tissue.end() && at->first < (cell_row + 1) * columns; ++at) {
      const auto from = std::max<std::int64_t>(at->first - cell_row * columns, 0), to = std::min(at->last - cell_row * columns, columns);
      // Columns k whose middle first_x + k step_x lies in [from, to).
      const auto begin = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::ceil((static_cast<double>(from) - first_x) / step_x)));
      const auto end = static_cast<std::int64_t>(std::ceil((static_cast<double>(to) - first_x) / step_x));
      if (end > begin && take(begin, row, end - begin)) return true;
    }
  }
}

std::int64_t SlideSource::count(std::int64_t slide) const {
  const auto i = static_cast<std::size_t>(slide);
  if (index_.cells[i] == 0) return 0;
  std::int64_t n = 0;
  if (options_.random) {
    const double scale = options_.mpp_high > 0 ? std::sqrt(options_.mpp * options_.mpp_high) : options_.mpp, side = static_cast<double>(options_.size) * scale;
    const double area = static_cast<double>(index_.cells[i]) * index_.cell_x[i] * index_.mpp_x[i] * index_.cell_y[i] * index_.mpp_y[i];
    n = std::llround(area / (side * side));
  } else {
    over_grid(slide, [&](std::int64_t, std::int64_t, std::int64_t more) {
      n += more;
      return false;
    });
  }
  return std::max<std::int64_t>(n, 1);  // every slide with tissue has a picture
}

SlideSource::Place SlideSource::in_cell(std::int64_t slide, std::int64_t cell, double x, double y) const {
  const auto i = static_cast<std::size_t>(slide);
  return {(static_cast<double>(cell % index_.columns[i]) + x) * index_.cell_x[i], (static_cast<double>(cell / index_.columns[i]) + y) * index_.cell_y[i]};
}

SlideSource::Place SlideSource::place(std::int64_t slide, std::int64_t number, const double random[3]) const {
  const auto i = static_cast<std::size_t>(slide);
  if (!options_.random) {
    const double side = static_cast<double>(options_.size) * options_.mpp, stride = options_.stride > 0 ? options_.stride : side;
    std::int64_t left = number;
    Place found{};
    const bool there = over_grid(slide, [&](std::int64_t column, std::int64_t row, std::int64_t more) {
      if (left >= more) {
        left -= more;
        return false;
      }
      found = {(side / 2 + static_cast<double>(column + left) * stride) / index_.mpp_x[i], (side / 2 + static_cast<double>(row) * stride) / index_.mpp_y[i]};
      return true;
    });
    if (there) return found;
  }
  // Evenly spread over the cells, and evenly within each: every spot of tissue is as likely.
  const auto n = options_.random ? first_[i + 1] - first_[i] : 1;
  const auto share = (static_cast<double>(number) + random[0]) / static_cast<double>(n);
  auto k = std::min(static_cast<std::int64_t>(share * static_cast<double>(index_.cells[i])), index_.cells[i] - 1);
  for (const auto& run : runs(slide)) {
    if (k < run.last - run.first) return in_cell(slide, run.first + k, random[1], random[2]);
    k -= run.last - run.first;
  }
  throw std::logic_error("fewer cells with tissue than were counted");
}

std::int64_t SlideSource::slide_of(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("picture " + std::to_string(index) + " of " + std::to_string(size()));
  return std::upper_bound(first_.begin(), first_.end(), index) - first_.begin() - 1;
}

data::SampleInfo SlideSource::describe(std::int64_t index) const {
  const auto slide = slide_of(index);
  const auto i = static_cast<std::size_t>(slide);
  constexpr double kMiddle[3] = {0.5, 0.5, 0.5};
  const auto middle = place(slide, index - first_[i], kMiddle);
  const double half = static_cast<double>(options_.size) * options_.mpp / 2;
  auto info = index_.slides.info(slide);
  info.place = {{"x", middle.x - half / index_.mpp_x[i], "px"}, {"y", middle.y - half / index_.mpp_y[i], "px"}};  // of the corner, in level 0
  return info;
}

std::shared_ptr<const io::Slide> SlideSource::opened(std::int64_t number) const {
  const auto i = static_cast<std::size_t>(number);
  const auto path = index_.slides.paths.at(number);
  const io::SlideOptions options{std::array<double, 2>{index_.mpp_x[i], index_.mpp_y[i]}, options_.fast, io::shared_tile_cache()};
  std::shared_ptr<const io::Slide> slide;
  const auto layout = layouts_.get(number, [&] {
    slide = std::make_shared<const io::Slide>(path, options);
    return std::make_shared<const io::SlideLayout>(slide->layout());
  });
  if (!slide) slide = std::make_shared<const io::Slide>(path, options, *layout);
  const auto& full = slide->levels().front();
  if (full.width != index_.width[i] || full.height != index_.height[i])
    throw FormatError(path, std::to_string(index_.width[i]) + " x " + std::to_string(index_.height[i]) + " pixels, as the index says",
                      std::to_string(full.width) + " x " + std::to_string(full.height));
  return slide;
}

data::Sample SlideSource::sample(std::int64_t index, const Draw& draw) const {
  const auto number = slide_of(index);
  const auto i = static_cast<std::size_t>(number);
  double random[3] = {0.5, 0.5, 0.5}, mpp = options_.mpp;
  Philox philox(draw, Stream::kWindow);
  if (options_.random)
    for (auto& value : random) value = philox.uniform();
  if (options_.mpp_high > 0) mpp *= std::pow(options_.mpp_high / options_.mpp, philox.uniform());
  const auto middle = place(number, index - first_[i], random);
  const auto slide = open_.get(number, [&] { return opened(number); });
  const double half = static_cast<double>(options_.size) * mpp / 2;
  const auto [x, y] =
      whole_corner(*slide, middle.x - half / index_.mpp_x[i], middle.y - half / index_.mpp_y[i], {mpp / index_.mpp_x[i], mpp / index_.mpp_y[i]});
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(3 * options_.size * options_.size));
  read_mpp(*slide, x, y, mpp, options_.size, options_.size, pixels.data());
  data::Sample sample;
  sample.arrays.push_back({options_.modality,
                           {options_.size, options_.size, 3},
                           std::move(pixels),
                           data::GridSpace{{mpp / 1000, mpp / 1000}, {y * index_.mpp_y[i] / 1000, x * index_.mpp_x[i] / 1000}}});
  for (const auto& [name, column] : targets_) sample.targets[name] = column[i];
  if (!options_.drawn.empty())
    sample.targets["labels"] = data::LabelMap{{options_.size, options_.size}, labels(number, x, y, mpp, options_.size, options_.size)};
  return sample;
}

std::vector<std::int32_t> SlideSource::labels(std::int64_t slide, double x, double y, double mpp, std::int64_t width, std::int64_t height) const {
  if (slide < 0 || slide >= static_cast<std::int64_t>(options_.drawn.size()))
    throw ValueError("labels: slide " + std::to_string(slide) + " of " + std::to_string(options_.drawn.size()) + " with polygons");
  if (width < 1 || height < 1) throw ValueError("labels: a part of a slide has at least one pixel");
  require(mpp > 0 && std::isfinite(mpp), "mpp", mpp, "µm per pixel must be positive");
  const auto i = static_cast<std::size_t>(slide);
  const transforms::RasterGrid grid{x, y, {mpp / index_.mpp_x[i], mpp / index_.mpp_y[i]}, width, height};
  std::vector<std::int32_t> out(static_cast<std::size_t>(width * height), data::kUnlabeled);
  // Cells whose middles are on the slide.
  const auto within = [](double corner, double cell, std::int64_t side, std::int64_t count) {
    const auto at = [&](double place) {
      return static_cast<std::int64_t>(std::clamp(std::ceil((place - corner) / cell - 0.5), 0.0, static_cast<double>(count)));
    };
    return std::pair(at(0), at(static_cast<double>(side)));
  };
  const auto [left, right] = within(x, grid.cell[0], index_.width[i], width);
  const auto [top, bottom] = within(y, grid.cell[1], index_.height[i], height);
  for (auto row = top; row < bottom; ++row) std::fill(out.begin() + row * width + left, out.begin() + row * width + right, options_.unlabeled);
  transforms::rasterize(options_.drawn[i], grid, out.data());
  return out;
}

}  // namespace sslmed::picture
