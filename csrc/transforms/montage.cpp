#include "transforms/montage.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <numbers>
#include <utility>

namespace sslmed::transforms {
namespace {

constexpr double kRadius = 95.0;  // mm
constexpr double kDegree = std::numbers::pi / 180;
// A tenth of the nasion-inion arc, so that Fpz, T7, Oz and T8 lie on the sphere's equator, as in spherical montages.
constexpr double kTenth = 22.5;

// Unit vector at `inclination` from the vertex towards `azimuth` (0 front, 90 left).
Position on_sphere(double inclination, double azimuth) {
  const double s = std::sin(inclination * kDegree), c = std::cos(inclination * kDegree);
  return {-s * std::sin(azimuth * kDegree), s * std::cos(azimuth * kDegree), c};
}
double dot(const Position& a, const Position& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
Position cross(const Position& a, const Position& b) { return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}; }
Position minus(const Position& a, const Position& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }

// The point at `fraction` of the way from `from` to `to` (beyond 1 past it) along the circle through from, to and `mirror`.
Position along_circle(const Position& from, const Position& to, const Position& mirror, double fraction) {
  Position normal = cross(minus(to, from), minus(mirror, from));
  const double length = std::sqrt(dot(normal, normal));
  for (auto& v : normal) v /= length;
  const double height = dot(normal, from);
  const Position center{normal[0] * height, normal[1] * height, normal[2] * height};
  const Position u = minus(from, center);
  const Position v = cross(normal, u);
  const Position w = minus(to, center);
  const double angle = std::atan2(dot(w, v), dot(w, u)) * fraction;
  Position out;
  for (std::size_t i = 0; i < 3; ++i) out[i] = center[i] + u[i] * std::cos(angle) + v[i] * std::sin(angle);
  return out;
}

struct Row {
  const char* name;     // of the electrodes near the midline
  const char* lateral;  // of those at 7 and beyond
  int step;             // 5 % steps from the nasion
};
constexpr Row kRows[] = {{"N", "N", 0},    {"NFp", "NFp", 1},  {"Fp", "Fp", 2}, {"AFp", "AFp", 3},  {"AF", "AF", 4},  {"AFF", "AFF", 5},
                         {"F", "F", 6},    {"FFC", "FFT", 7},  {"FC", "FT", 8}, {"FCC", "FTT", 9},  {"C", "T", 10},   {"CCP", "TTP", 11},
                         {"CP", "TP", 12}, {"CPP", "TPP", 13}, {"P", "P", 14},  {"PPO", "PPO", 15}, {"PO", "PO", 16}, {"POO", "POO", 17},
                         {"O", "O", 18},   {"OI", "OI", 19},   {"I", "I", 20}};
constexpr const char* kSteps[] = {"1h", "1", "3h", "3", "5h", "5", "7h", "7", "9h", "9"};
constexpr const char* kMirrorSteps[] = {"2h", "2", "4h", "4", "6h", "6", "8h", "8", "10h", "10"};

std::map<std::string, Position> build() {
  std::map<std::string, Position> out;
  for (const auto& row : kRows) {
    // The midline from the nasion over the vertex, and the ring through Fpz, T7 and Oz at the same percentage.
    const double arc = kTenth * (row.step / 2.0 - 5);  // degrees past the vertex
    const Position middle = on_sphere(std::abs(arc), arc <= 0 ? 0 : 180);
    out[std::string(row.name) + "z"] = middle;
    const bool outer = row.step < 2 || row.step > 18;  // below the ring, in front or behind
    const double around = outer ? 0 : 180.0 * (row.step - 2) / 16.0;
    for (int k = 0; k < 10; ++k) {
      for (const bool left : {true, false}) {
        Position at;
        if (row.step == 2 || row.step == 18 || outer) {
          // These rows run along a circle of constant height; 7 is a tenth of the circumference from the midline.
          at = on_sphere(std::abs(arc), (left ? 1 : -1) * 18.0 * (k + 1) / 8.0);
          if (arc > 0) at[1] = -at[1];
        } else {
          const Position end = on_sphere(90, left ? around : -around), mirror = on_sphere(90, left ? -around : around);
          at = k < 8 ? along_circle(middle, end, mirror, (k + 1) / 8.0) : on_sphere(90 + kTenth * (k - 7) / 2.0, left ? around : -around);
        }
        const char* base = k >= 6 ? row.lateral : row.name;
        out[std::string(base) + (left ? kSteps[k] : kMirrorSteps[k])] = at;
      }
    }
  }
  for (auto& [name, position] : out)
    for (auto& v : position) v *= kRadius;
  const std::pair<const char*, const char*> aliases[] = {{"T3", "T7"}, {"T4", "T8"},  {"T5", "P7"},  {"T6", "P8"},
                                                         {"A1", "T9"}, {"A2", "T10"}, {"M1", "TP9"}, {"M2", "TP10"}};
  for (const auto& [alias, name] : aliases) out[alias] = out.at(name);
  return out;
}

const std::map<std::string, Position>& table() {
  static const std::map<std::string, Position> positions = build();
  return positions;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

const std::map<std::string, std::string>& by_lower_case() {
  static const std::map<std::string, std::string> names = [] {
    std::map<std::string, std::string> out;
    for (const auto& [name, position] : table()) out[lower(name)] = name;
    return out;
  }();
  return names;
}

}  // namespace

std::optional<std::string> standard_name(const std::string& name) {
  std::string key = lower(name);
  bool against_ear = false;
  if (key.rfind("eeg ", 0) == 0 || key.rfind("eeg-", 0) == 0) key.erase(0, 4);
  for (const char* reference : {"-ref", "-le", "-ar", "-avg", "-a1", "-a2", "-m1", "-m2", "_ref"}) {
    const std::string suffix = reference;
    if (key.size() > suffix.size() && key.compare(key.size() - suffix.size(), suffix.size(), suffix) == 0) {
      key.erase(key.size() - suffix.size());
      against_ear = suffix[1] == 'a' || suffix[1] == 'm' ? suffix[2] == '1' || suffix[2] == '2' : false;
      break;
    }
  }
  while (!key.empty() && (key.back() == '.' || key.back() == ' ')) key.pop_back();
  const auto found = by_lower_case().find(key);
  if (found == by_lower_case().end()) return std::nullopt;
  const bool is_ear = key == "a1" || key == "a2" || key == "m1" || key == "m2";
  if (is_ear && against_ear) return std::nullopt;  // one ear against the other
  // T3 and T7 are one electrode.
  constexpr std::array<std::pair<const char*, const char*>, 4> kOlder{{{"T3", "T7"}, {"T4", "T8"}, {"T5", "P7"}, {"T6", "P8"}}};
  for (const auto& [older, newer] : kOlder)
    if (found->second == older) return newer;
  return found->second;
}

std::optional<Position> electrode_position(const std::string& name) {
  const auto standard = standard_name(name);
  if (!standard) return std::nullopt;
  return table().at(*standard);
}

std::vector<std::string> standard_names() {
  std::vector<std::string> names;
  for (const auto& [name, position] : table()) names.push_back(name);
  return names;
}

}  // namespace sslmed::transforms
