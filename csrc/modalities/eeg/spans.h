#pragma once
// Spans of recordings that annotations say must not be used, and places across which a signal does not go on.

#include <string>
#include <vector>

#include "io/signal_file.h"

namespace sslmed::eeg {

using Stretch = io::Stretch;

// Whether an annotation marks a span not to be used: its text starts with "bad" in any case, as MNE has it, behind
// BrainVision's "Comment/" as well. Without a duration it is a boundary.
bool is_bad(const std::string& text);
// Whether the signal before and after an annotation's onset do not belong together: EEGLAB's "boundary" events, whose duration
// is of what was taken out, MNE's "EDGE …", and BrainVision's "New Segment" and "LostSamples".
bool is_boundary(const std::string& text);

// `stretches` without the bad spans, and cut at boundaries.
std::vector<Stretch> usable_stretches(const std::vector<Stretch>& stretches, const std::vector<io::Annotation>& annotations, double sfreq);

}  // namespace sslmed::eeg
