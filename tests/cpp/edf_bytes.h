#pragma once
#include <cstdio>
#include <string>
#include <vector>

namespace sslmed::testing {

// A little EDF+ file: one signal "Cz" of `per_record` samples 0, 1, 2 … and an annotation signal, one record an onset.
inline std::string edf_bytes(const std::vector<double>& onsets, const std::string& kind = "EDF+D", int per_record = 10) {
  const auto pad = [](std::string text, std::size_t width) { return text.append(width - text.size(), ' '); };
  std::string out = pad("0", 8) + pad("X", 80) + pad("", 80) + "02.03.0405.06.07" + pad("768", 8) + pad(kind, 44) + pad(std::to_string(onsets.size()), 8) +
                    pad("1", 8) + pad("2", 4);
  out += pad("Cz", 16) + pad("EDF Annotations", 16) + pad("", 160) + pad("uV", 8) + pad("", 8);
  out += pad("-32768", 8) + pad("-1", 8) + pad("32767", 8) + pad("1", 8) + pad("-32768", 8) + pad("-32768", 8) + pad("32767", 8) + pad("32767", 8);
  out += pad("", 160) + pad(std::to_string(per_record), 8) + pad("20", 8) + pad("", 64);
  int value = 0;
  for (const double onset : onsets) {
    for (int i = 0; i < per_record; ++i, ++value) {
      out += static_cast<char>(value & 0xff);
      out += static_cast<char>((value >> 8) & 0xff);
    }
    char tal[41] = {};
    std::snprintf(tal, sizeof tal, "%+g\x14\x14", onset);
    out += std::string(tal, 40);
  }
  return out;
}

}  // namespace sslmed::testing
