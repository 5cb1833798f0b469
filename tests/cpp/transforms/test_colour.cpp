#include <catch2/catch.hpp>
#include <cstdlib>
#include <vector>

#include "core/error.h"
#include "transforms/colour.h"
#include "transforms/stain.h"

using namespace sslmed::transforms;
using Bytes = std::vector<std::uint8_t>;

TEST_CASE("light and colour by known amounts") {
  Bytes rgb{100, 50, 0, 200, 200, 200};
  adjust_brightness(rgb.data(), 2, 1.5);
  CHECK(rgb == Bytes{150, 75, 0, 255, 255, 255});
  rgb = {255, 0, 0, 90, 90, 90};
  adjust_hue(rgb.data(), 2, 1.0 / 3);
  CHECK(rgb == Bytes{0, 255, 0, 90, 90, 90});
  rgb = {10, 20, 30, 240, 130, 120};
  adjust_saturation(rgb.data(), 2, 0);
  CHECK(rgb[0] == rgb[2]);
  CHECK(rgb[3] == rgb[5]);
  rgb = {100, 100, 100, 200, 200, 200};
  adjust_contrast(rgb.data(), 2, 0);
  CHECK(rgb[0] == rgb[5]);
  rgb = {127, 128, 255};
  solarise(rgb.data(), 1, 128);
  CHECK(rgb == Bytes{127, 127, 0});
  CHECK_THROWS_AS(adjust_hue(rgb.data(), 1, 0.7), sslmed::ValueError);
  CHECK_THROWS_AS(adjust_brightness(rgb.data(), 1, -0.1), sslmed::ValueError);
}

TEST_CASE("factors beyond all measure make black and white") {
  Bytes rgb{0, 1, 255, 90, 100, 110};
  adjust_brightness(rgb.data(), 2, 1e300);
  CHECK(rgb == Bytes{0, 255, 255, 255, 255, 255});
  rgb = {10, 10, 10, 240, 240, 240};
  adjust_contrast(rgb.data(), 2, 1e300);
  CHECK(rgb == Bytes{0, 0, 0, 255, 255, 255});
  rgb = {200, 10, 10, 0, 0, 0};
  adjust_saturation(rgb.data(), 2, 1e300);
  CHECK(rgb == Bytes{255, 0, 0, 0, 0, 0});
  hed_jitter(rgb.data(), 2, {1, 1, 1}, {-1e6, -1e6, -1e6});
  CHECK(rgb == Bytes(6, 255));
  hed_jitter(rgb.data(), 2, {1, 1, 1}, {1e6, 1e6, 1e6});
  CHECK(rgb == Bytes(6, 0));
}

TEST_CASE("a blur keeps a flat picture and the sum of a point") {
  Bytes flat(9 * 8 * 3, 77);
  gaussian_blur(flat.data(), 9, 8, 5, 1.3);
  CHECK(flat == Bytes(9 * 8 * 3, 77));
  Bytes point(21 * 21 * 3, 0);
  point[3 * (10 * 21 + 10)] = 255;
  gaussian_blur(point.data(), 21, 21, 7, 1);
  int sum = 0;
  for (std::size_t i = 0; i < point.size(); i += 3) sum += point[i];
  CHECK(std::abs(sum - 255) < 20);
  CHECK_THROWS_AS(gaussian_blur(point.data(), 3, 21, 7, 1), sslmed::ValueError);
}

TEST_CASE("flips and turns of any size stay within the picture") {
  for (std::int64_t width = 1; width <= 20; ++width) {
    for (const std::int64_t height : {1, 2, 7}) {
      // Exactly as long as the picture, for the sanitizer to see what is read or written beyond it.
      Bytes rgb(static_cast<std::size_t>(3 * width * height));
      for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<std::uint8_t>(37 * i + 11);
      const auto at = [](const Bytes& picture, std::int64_t columns, std::int64_t x, std::int64_t y, std::int64_t c) {
        return picture[static_cast<std::size_t>(3 * (y * columns + x) + c)];
      };
      Bytes flipped = rgb;
      flip_horizontally(flipped.data(), width, height);
      std::vector<Bytes> turned(4, Bytes(rgb.size()));
      for (int turns = 0; turns < 4; ++turns) rotate_quarters(rgb.data(), width, height, turns, turned[static_cast<std::size_t>(turns)].data());
      bool right = turned[0] == rgb;
      for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x)
          for (std::int64_t c = 0; c < 3; ++c) {
            const auto value = at(rgb, width, x, y, c);
            right = right && at(flipped, width, width - 1 - x, y, c) == value && at(turned[1], height, y, width - 1 - x, c) == value &&
                    at(turned[2], width, width - 1 - x, height - 1 - y, c) == value && at(turned[3], height, height - 1 - y, x, c) == value;
          }
      CHECK(right);
    }
  }
}

TEST_CASE("flips and turns of two by one") {
  const Bytes rgb{1, 2, 3, 4, 5, 6};
  Bytes out = rgb;
  flip_horizontally(out.data(), 2, 1);
  CHECK(out == Bytes{4, 5, 6, 1, 2, 3});
  flip_vertically(out.data(), 1, 2);
  CHECK(out == rgb);
  rotate_quarters(rgb.data(), 2, 1, 1, out.data());  // what was right is on top
  CHECK(out == Bytes{4, 5, 6, 1, 2, 3});
  rotate_quarters(rgb.data(), 2, 1, -1, out.data());
  CHECK(out == rgb);
}
