#include <catch2/catch.hpp>

#include "core/error.h"
#include "io/brainvision.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;

namespace {

std::string brainvision_header(const std::string& number, const std::string& orientation, int channels = 6) {
  std::string text = "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile=a.eeg\nDataOrientation=" + orientation +
                     "\nNumberOfChannels=" + std::to_string(channels) + "\nSamplingInterval=4000\n[Binary Infos]\nBinaryFormat=" + number +
                     "\n[Channel Infos]\n";
  for (int c = 1; c <= channels; ++c) text += "Ch" + std::to_string(c) + "=E" + std::to_string(c) + ",,0.5,mV\n";
  return text;
}

}  // namespace

TEST_CASE("BrainVision samples in either order") {
  const testing::TemporaryFolder folder;
  constexpr int kSamples = 70, kChannels = 6;  // more than a block of frames, and no multiple of four
  for (const bool vectorized : {false, true}) {
    std::string samples;
    for (int k = 0; k < kSamples * kChannels; ++k) {
      const int value = vectorized ? (k % kSamples) * 10 + k / kSamples : (k / kChannels) * 10 + k % kChannels;
      samples += static_cast<char>(value & 0xff);
      samples += static_cast<char>(value >> 8);
    }
    folder.write("a.eeg", samples);
    const BrainVisionFile file(folder.write("a.vhdr", brainvision_header("INT_16", vectorized ? "VECTORIZED" : "MULTIPLEXED")));
    CHECK(file.n_samples() == kSamples);
    CHECK(file.sfreq() == 250);
    CHECK(file.unit(0) == "mV");
    for (const auto& channels : {std::vector<std::size_t>{0, 1, 2, 3, 4, 5}, {5, 0, 1, 2, 3}, {4}}) {
      std::vector<float> x(channels.size() * 41);
      file.read_grid(channels, 27, 68, x.data());
      for (std::size_t row = 0; row < channels.size(); ++row)
        for (std::size_t t = 0; t < 41; ++t) REQUIRE(x[row * 41 + t] == 0.5f * static_cast<float>((27 + t) * 10 + channels[row]));
    }
    float x = 0;
    CHECK_THROWS_AS(file.read_grid({0}, 70, 71, &x), ValueError);
    CHECK_THROWS_AS(file.read_grid({6}, 0, 1, &x), ValueError);
    CHECK_THROWS_AS(file.read_grid({}, 0, 1, &x), ValueError);
  }
}

TEST_CASE("BrainVision headers") {
  std::vector<std::string> warnings;
  const std::string text = brainvision_header("IEEE_FLOAT_32", "VECTORIZED", 2);
  CHECK(parse_brainvision_header("a.vhdr", text, warnings).channels[1].name == "E2");
  CHECK_THROWS_AS(parse_brainvision_header("a.vhdr", brainvision_header("INT_24", "VECTORIZED"), warnings), FormatError);
  CHECK_THROWS_AS(parse_brainvision_header("a.vhdr", text.substr(0, text.size() - 14), warnings), FormatError);
  CHECK_THROWS_AS(parse_brainvision_header("a.vhdr", "", warnings), FormatError);
  CHECK(warnings.empty());
  const auto markers =
      parse_brainvision_markers("a.vmrk", "Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\nMk1=Comment,a,5,2,0\nMk2=b,c,d", 4);
  REQUIRE(markers.annotations.size() == 1);
  CHECK(markers.annotations[0].onset == 1.0);
  CHECK(markers.annotations[0].duration == 0.5);
  CHECK(markers.malformed == 1);
  CHECK_THROWS_AS(parse_brainvision_markers("a.vmrk", "x", 4), FormatError);
}
