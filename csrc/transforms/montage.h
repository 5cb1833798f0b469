#pragma once
// Electrode positions of the 10-05 system (Oostenveld and Praamstra 2001), computed on a sphere from the system's own rule
// (equal arcs between landmarks) and not tabulated.

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace sslmed::transforms {

using Position = std::array<double, 3>;  // mm; x right, y front, z up; on a sphere of 95 mm

// The position of a channel by its name: case, "EEG " in front, "-REF"-like references behind and dots as padding are
// ignored, T3 T4 T5 T6 are T7 T8 P7 P8. Empty for a name that the system does not have, and for two electrodes ("FZ-CZ").
std::optional<Position> electrode_position(const std::string& name);
// The name as the 10-05 system writes it ("EEG FP1-LE" is "Fp1"); empty when it has none.
std::optional<std::string> standard_name(const std::string& name);
// All names, sorted.
std::vector<std::string> standard_names();

}  // namespace sslmed::transforms
