#pragma once
// Which signals of a recording are EEG, and what their labels mean: one set of rules for files and arrays.

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sslmed::eeg {

enum class ChannelKind {
  kElectrode,   // of the 10-05 system, against a reference that its recording shares
  kDerivation,  // between two electrodes of the 10-05 system
  kUnplaced,    // any other name that may be of EEG
  kAuxiliary    // heart, eyes, muscles, breathing, triggers, the device's own
};

struct Channel {
  ChannelKind kind = ChannelKind::kUnplaced;
  std::string name;       // "Fp1", "Fz-Cz"; otherwise the label
  std::string reference;  // as the label has it, in lower case; empty: none
  bool repeated = false;  // an earlier channel is at the same place
};

// What each label means among the others. A reference that is an electrode is taken off only where all labels share it. A1, B1 … of BioSemi's own
// system are no 10-05 names, and are called "BioSemi A1".
std::vector<Channel> recognize(const std::vector<std::string>& labels);
// "Fz-Cz" of "EEG FZ-CZ"; empty where the label is not two electrodes.
std::string derivation_name(const std::string& label);
// Whether a label names something else than an EEG electrode (ECG, EOG, EMG, triggers, respiration …).
bool is_auxiliary(const std::string& label);
// Microvolts in one `unit` ("mV": 1000). Empty for what is no voltage; 1 for an empty unit, which many files mean as µV.
std::optional<double> microvolts(const std::string& unit);

// A signal as a file's header has it.
struct SignalHead {
  std::string label, unit;
  double sfreq = 0;      // Hz
  bool readable = true;  // has a physical scale
};

// Names of channels that are wanted (empty: all EEG) and not wanted: labels, or 10-05 names in any spelling.
struct ChannelChoice {
  std::vector<std::string> use, exclude;
  std::map<std::string, std::string> units = {};  // by label, in the place of the file's
  bool empty() const { return use.empty() && exclude.empty(); }
};

struct ChannelUse {
  Channel channel;
  std::string label;  // the file's, but "BioSemi A1" for A1 of that system
  bool used = false;
  std::string why;         // it is not used
  bool told = true;        // worth a note: its name does not say it
  bool by_choice = false;  // the ChannelChoice says so
};

// Which signals are read: EEG in a voltage, at the rate that most electrodes have.
std::vector<ChannelUse> choose_channels(const std::vector<SignalHead>& signals, const ChannelChoice& choice = {});
// Units by a recording's labels, from units by names in any spelling; a name that is a label comes before others.
std::map<std::string, std::string> units_of_labels(const std::vector<std::string>& labels, const std::map<std::string, std::string>& units);
// Of `names`, as a ChannelChoice has them, those that mean none of a recording's labels.
std::vector<std::string> names_without_channel(const std::vector<std::string>& labels, const std::vector<std::string>& names);

}  // namespace sslmed::eeg
