#include "modalities/picture/slide_tiles.h"

#include <cmath>
#include <exception>
#include <string>
#include <utility>

#include "core/error.h"
#include "modalities/picture/slide_region.h"

namespace sslmed::picture {

SlideTiles::SlideTiles(std::shared_ptr<const io::Slide> slide, std::vector<std::array<double, 2>> corners, const SlideTilesOptions& options)
    : slide_(std::move(slide)), corners_(std::move(corners)), options_(options), queue_(0, corners_.size(), options.ahead) {
  for (const auto cells : options.pixel)
    if (!(cells > 0 && std::isfinite(cells))) throw ValueError("SlideTiles: pixel=" + std::to_string(cells) + " must be positive");
  if (options.size < 1 || options.size > (1 << 14))
    throw ValueError("SlideTiles: size=" + std::to_string(options.size) + " must be within 1 and 16,384 pixels");
  if (options.threads < 1) throw ValueError("SlideTiles: threads=0 must be at least 1");
  pool_.start(options.threads, [this](unsigned thread) { read(thread); }, [this] { queue_.close(); });
}

void SlideTiles::read(unsigned) {
  const auto pixels = static_cast<std::size_t>(options_.size * options_.size);
  std::vector<std::uint8_t> rgb(3 * pixels);
  while (const auto ticket = queue_.take_ticket()) {
    try {
      const auto& [x, y] = corners_[*ticket];
      read_area(*slide_, x, y, options_.pixel, options_.size, options_.size, rgb.data());
      std::vector<std::uint8_t> planes(rgb.size());
      auto *red = planes.data(), *green = red + pixels, *blue = green + pixels;
      for (std::size_t i = 0; i < pixels; ++i) {
        red[i] = rgb[3 * i];
        green[i] = rgb[3 * i + 1];
        blue[i] = rgb[3 * i + 2];
      }
      queue_.put(*ticket, std::move(planes));
    } catch (...) {
      queue_.fail(*ticket, std::current_exception());
    }
  }
}

}  // namespace sslmed::picture
