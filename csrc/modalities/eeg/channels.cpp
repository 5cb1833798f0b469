#include "modalities/eeg/channels.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>
#include <utility>

#include "core/error.h"
#include "transforms/montage.h"

namespace sslmed::eeg {
namespace {

constexpr const char* kSeparators = " -_:/";

std::string channel_key(const std::string& text) {
  std::string out;
  for (const char c : text) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string without_ends(const std::string& text, const char* ends) {
  const auto first = text.find_first_not_of(ends);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(ends) - first + 1);
}

std::string letters_and_digits(const std::string& text) {
  std::string out;
  for (const char c : text)
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) out += c;
  return out;
}

bool is_one_of(const std::string& word, const std::set<std::string>& words) { return words.count(word) > 0; }

const std::set<std::string>& ears() {
  static const std::set<std::string> words{"a1", "a2", "m1", "m2"};
  return words;
}

// What a recording is referenced to, where it is no electrode of the head.
bool is_reference(const std::string& tail) {
  static const std::set<std::string> words{"ref",    "ref1", "ref2", "le",   "lea",   "ler",   "ar",     "av",     "avg",  "avr",     "aver", "average",
                                           "car",    "cav",  "a1a2", "a12",  "m1m2",  "m12",   "aa",     "ears",   "org",  "cref",    "g2",   "nose",
                                           "linked", "mean", "a2a1", "m2m1", "a1a22", "m1m22", "comref", "common", "vref", "tp9tp10", "aref", "reference"};
  return is_one_of(letters_and_digits(tail), words) || is_one_of(tail, ears());
}

bool is_digits(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// A name without a reference: the 10-05 system's, or none.
std::optional<std::string> electrode_of(const std::string& text) {
  if (text.find_first_of(kSeparators) != std::string::npos) return std::nullopt;
  return transforms::standard_name(text);
}

// In lower case, without what says that it is a signal, and without the number that tells channels of one name apart ("T8-P8-1").
std::string bare(const std::string& label) {
  std::string key = without_ends(channel_key(label), " .\t");
  for (const std::string prefix : {"eeg", "pol", "psg"})
    if (key.rfind(prefix, 0) == 0 && key.size() > prefix.size() && std::string(kSeparators).find(key[prefix.size()]) != std::string::npos)
      key = without_ends(key.substr(prefix.size()), " -_:/.");
  const auto dash = key.rfind('-');
  if (dash != std::string::npos && dash > 0 && key.size() == dash + 2 && is_digits(key.substr(dash + 1)))
    if (const auto head = key.substr(0, dash); electrode_of(head) || head.find('-') != std::string::npos) key = head;
  return key;
}

struct Parts {
  std::string head, tail;
};

std::vector<Parts> splits(const std::string& key) {
  std::vector<Parts> out;
  for (auto at = key.find_first_of(kSeparators); at != std::string::npos; at = key.find_first_of(kSeparators, at + 1)) {
    Parts parts{without_ends(key.substr(0, at), kSeparators), without_ends(key.substr(at + 1), kSeparators)};
    if (!parts.head.empty() && !parts.tail.empty()) out.push_back(std::move(parts));
  }
  return out;
}

// Words of a name, without the numbers that follow them.
std::vector<std::string> words_of(const std::string& key) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : key + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, ""));
    }
  }
  for (auto& w : words)
    if (const auto last = w.find_last_not_of("0123456789"); last != std::string::npos) w.erase(last + 1);
  return words;
}

bool has_auxiliary_word(const std::string& key) {
  static const std::set<std::string> exact{
      "loc",       "roc",     "chin",  "leg",   "lleg", "rleg",      "legs",  "tib",   "lat",    "rat",      "hr",   "pr",   "pos",
      "position",  "light",   "leak",  "mic",   "dc",   "acc",       "mag",   "sum",   "flow",   "rip",      "abd",  "thor", "nasal",
      "oral",      "cpap",    "pap",   "pat",   "hrv",  "ppg",       "eda",   "gsr",   "scr",    "bp",       "co",   "cms",  "drl",
      "cq",        "eq",      "sync",  "bpm",   "ibi",  "bursts",    "suppr", "audio", "sound",  "sao",      "osat", "mems", "interpolated",
      "timestamp", "counter", "exg",   "ex",    "body", "rr",        "sti",   "stim",  "button", "phot",     "func", "ttl",  "clock",
      "misc",      "ptt",     "therm", "heart", "rate", "heartrate", "din",   "evt",   "tem",    "movement", "mkr"};
  static const std::array<const char*, 43> starts{"status",  "trig",     "stim",  "event",      "marker",    "resp",     "temp",    "spo",        "pulse",
                                                  "pleth",   "photic",   "gsr",   "annotation", "snor",      "airflow",  "counter", "accel",      "gyro",
                                                  "batt",    "abdo",     "thora", "thorax",     "chest",     "effort",   "cannula", "oxi",        "ploth",
                                                  "microph", "pressure", "etco",  "capno",      "submental", "mentalis", "highbit", "saturation", "timest",
                                                  "annot",   "oxy",      "diaph", "ambient",    "sweat",     "skin",     "joystick"};
  for (const auto& word : words_of(key)) {
    if (is_one_of(word, exact)) return true;
    for (const char* start : starts)
      if (word.rfind(start, 0) == 0) return true;
    for (const char* inside : {"ecg", "ekg", "eog", "emg"})
      if (word.find(inside) != std::string::npos) return true;
    if ((word.rfind("acc", 0) == 0 || word.rfind("mag", 0) == 0) && word.size() == 4 && std::string("xyz").find(word[3]) != std::string::npos) return true;
  }
  return false;
}

// A1 … A32, B1 … H32: BioSemi's own names, where there are more of them than the 10-05 system could have.
bool is_biosemi(const std::string& key) {
  if (key.size() < 2 || key.size() > 3 || key[0] < 'a' || key[0] > 'h' || key[1] == '0' || !is_digits(key.substr(1))) return false;
  return std::stoi(key.substr(1)) <= 32;
}

// What all of some names start or end with.
std::string shared_end(const std::vector<std::string>& keys, bool at_front) {
  std::string shared = keys.front();
  for (const auto& key : keys) {
    std::size_t n = 0;
    while (n < std::min(key.size(), shared.size()) && (at_front ? key[n] == shared[n] : key[key.size() - 1 - n] == shared[shared.size() - 1 - n])) ++n;
    shared = at_front ? shared.substr(0, n) : shared.substr(shared.size() - n);
  }
  return shared;
}

// The length of the front or end that makes electrodes of all names when it is taken off; or, if it stands apart, of half of them and more. 0: none.
std::size_t common_length(const std::vector<std::string>& keys, bool at_front) {
  if (std::set<std::string>(keys.begin(), keys.end()).size() < 2) return 0;
  const auto shared = shared_end(keys, at_front);
  for (auto n = shared.size(); n > 0; --n) {
    const char inner = at_front ? shared[n - 1] : shared[shared.size() - n];
    const bool apart = std::string(kSeparators).find(inner) != std::string::npos;
    std::set<std::string> found;
    std::size_t left = 0;
    for (const auto& key : keys) {
      const auto rest = without_ends(at_front ? key.substr(n) : key.substr(0, key.size() - n), kSeparators);
      if (const auto name = electrode_of(rest))
        found.insert(*name);
      else
        ++left;
    }
    if (found.size() >= 2 && (left == 0 || (apart && left * 2 <= keys.size()))) return n;
  }
  return 0;
}

struct Reading {
  std::string key;
  Channel channel;
  bool open = true;  // not yet known
};

void settle(Reading& reading, ChannelKind kind, const std::string& name, const std::string& reference = "") {
  reading.channel.kind = kind;
  reading.channel.name = name;
  reading.channel.reference = reference;
  reading.open = false;
}

// By the name alone: electrodes, with a reference that is no electrode of the head, and what is no EEG.
void read_alone(Reading& reading, const std::string& label) {
  if (const auto name = electrode_of(reading.key)) return settle(reading, ChannelKind::kElectrode, *name);
  for (const auto& [head, tail] : splits(reading.key)) {
    if (!is_reference(tail) || is_one_of(head, ears())) continue;
    if (const auto name = electrode_of(head)) return settle(reading, ChannelKind::kElectrode, *name, tail);
    if (is_one_of(tail, ears()) && (head == "e1" || head == "e2")) return settle(reading, ChannelKind::kAuxiliary, label, tail);
  }
  if (has_auxiliary_word(reading.key)) settle(reading, ChannelKind::kAuxiliary, label);
}

void read_biosemi(std::vector<Reading>& readings) {
  const auto own = std::count_if(readings.begin(), readings.end(), [](const Reading& r) { return is_biosemi(r.key) && !electrode_of(r.key); });
  if (own < 8) return;
  for (auto& reading : readings) {
    if (!is_biosemi(reading.key)) continue;
    reading.key[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(reading.key[0])));
    settle(reading, ChannelKind::kUnplaced, "BioSemi " + reading.key);
  }
}

// Takes off what all names share, in front and behind.
void read_together(std::vector<Reading>& readings) {
  for (const bool at_front : {true, false}) {
    std::vector<std::string> keys;
    for (const auto& reading : readings)
      if (reading.channel.kind != ChannelKind::kAuxiliary) keys.push_back(reading.key);
    if (keys.empty() || std::none_of(readings.begin(), readings.end(), [](const Reading& r) { return r.open; })) return;
    const auto n = common_length(keys, at_front);
    if (n == 0) continue;
    for (auto& reading : readings) {
      if (reading.channel.kind == ChannelKind::kAuxiliary) continue;
      const auto size = reading.key.size();
      const auto off = without_ends(at_front ? "" : reading.key.substr(size - n), kSeparators);
      const auto rest = without_ends(at_front ? reading.key.substr(n) : reading.key.substr(0, size - n), kSeparators);
      if (const auto name = electrode_of(rest)) settle(reading, ChannelKind::kElectrode, *name, off);
      reading.key = rest;
    }
  }
}

void mark_repeated(std::vector<Channel>& channels) {
  std::set<transforms::Position> places;
  std::set<std::string> derivations;
  for (auto& channel : channels) {
    if (channel.kind == ChannelKind::kElectrode) channel.repeated = !places.insert(*transforms::electrode_position(channel.name)).second;
    if (channel.kind == ChannelKind::kDerivation) channel.repeated = !derivations.insert(channel.name).second;
  }
}

std::set<std::string> keys_of(const std::vector<std::string>& labels) {
  std::set<std::string> keys;
  for (const auto& label : labels) keys.insert(channel_key(label));
  return keys;
}

ChannelUse unused(const Channel& channel, const std::string& label) {
  const bool biosemi = channel.name.rfind("BioSemi ", 0) == 0;
  return {channel, biosemi ? channel.name : label, false, "", true, false};
}

// Whether one of the names means a channel: a name that is a label of the recording means that one alone.
bool names_channel(const std::vector<std::string>& names, const ChannelUse& use, const std::string& label, const std::set<std::string>& labels) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    const auto key = channel_key(name);
    if (key == channel_key(use.label) || key == channel_key(label)) return true;
    if (labels.count(key) > 0) return false;
    if (use.channel.kind == ChannelKind::kElectrode) return transforms::standard_name(name) == use.channel.name;
    return use.channel.kind == ChannelKind::kDerivation && derivation_name(name) == use.channel.name;
  });
}

// The rate of most electrodes, or of most others where there is none; of two the higher one.
double common_rate(const std::vector<SignalHead>& signals, const std::vector<ChannelUse>& uses) {
  for (const bool placed : {true, false}) {
    std::map<double, int> counts;
    for (std::size_t i = 0; i < uses.size(); ++i)
      if (uses[i].used && (!placed || uses[i].channel.kind == ChannelKind::kElectrode || uses[i].channel.kind == ChannelKind::kDerivation))
        ++counts[signals[i].sfreq];
    if (counts.empty()) continue;
    return std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second <= b.second; })->first;
  }
  return 0;
}

}  // namespace

std::string derivation_name(const std::string& label) {
  for (const auto& [head, tail] : splits(bare(label))) {
    const auto from = electrode_of(head), to = electrode_of(tail);
    if (from && to) return *from + "-" + *to;
  }
  return "";
}

bool is_auxiliary(const std::string& label) { return recognize({label}).front().kind == ChannelKind::kAuxiliary; }

std::vector<Channel> recognize(const std::vector<std::string>& labels) {
  std::vector<Reading> readings(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) readings[i] = {bare(labels[i]), {ChannelKind::kUnplaced, labels[i], "", false}, true};
  read_biosemi(readings);
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (readings[i].open) read_alone(readings[i], labels[i]);
  read_together(readings);
  // The eyes of a sleep recording; a net of E1 … E128 has more of them.
  const auto nets =
      std::count_if(readings.begin(), readings.end(), [](const Reading& r) { return r.key.size() > 1 && r.key[0] == 'e' && is_digits(r.key.substr(1)); });
  std::vector<Channel> channels;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    auto& reading = readings[i];
    if (reading.open && nets <= 2 && (reading.key == "e1" || reading.key == "e2")) settle(reading, ChannelKind::kAuxiliary, labels[i]);
    if (const auto name = reading.open ? derivation_name(labels[i]) : ""; !name.empty())
      settle(reading, ChannelKind::kDerivation, name, name.substr(name.find('-') + 1));
    channels.push_back(reading.channel);
  }
  mark_repeated(channels);
  return channels;
}

std::optional<double> microvolts(const std::string& unit) {
  std::string key = without_ends(unit, " []().");
  // A µ in Latin-1's place, as a Greek letter, and as Shift-JIS has it where its bytes are read as Latin-1.
  for (const std::string mu : {"\xc2\xb5", "\xce\xbc", "\xce\x9c", "\xc2\x83\xc3\x8a"})
    if (key.rfind(mu, 0) == 0) key = "u" + key.substr(mu.size());
  if (key == "MV") return std::nullopt;  // of a million volts, or of a thousandth
  key = channel_key(key);
  static const std::map<std::string, double> known{{"", 1.0},      {"uv", 1.0},        {"microv", 1.0},     {"microvolt", 1.0}, {"microvolts", 1.0},
                                                   {"uvolt", 1.0}, {"uvolts", 1.0},    {"nv", 1e-3},        {"nanovolt", 1e-3}, {"nanovolts", 1e-3},
                                                   {"mv", 1e3},    {"millivolt", 1e3}, {"millivolts", 1e3}, {"mvolt", 1e3},     {"mvolts", 1e3},
                                                   {"v", 1e6},     {"volt", 1e6},      {"volts", 1e6}};
  const auto found = known.find(key);
  return found == known.end() ? std::nullopt : std::optional(found->second);
}

std::vector<std::string> names_without_channel(const std::vector<std::string>& labels, const std::vector<std::string>& names) {
  const auto keys = keys_of(labels);
  std::vector<ChannelUse> uses;
  for (std::size_t i = 0; const auto& channel : recognize(labels)) uses.push_back(unused(channel, labels[i++]));
  std::vector<std::string> without;
  for (const auto& name : names) {
    bool found = false;
    for (std::size_t i = 0; i < uses.size() && !found; ++i) found = names_channel({name}, uses[i], labels[i], keys);
    if (!found) without.push_back(name);
  }
  return without;
}

std::map<std::string, std::string> units_of_labels(const std::vector<std::string>& labels, const std::map<std::string, std::string>& units) {
  std::map<std::string, std::string> found;
  std::vector<std::size_t> without;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto own = units.find(labels[i]);
    if (own != units.end()) {
      found.insert(*own);
    } else {
      without.push_back(i);
    }
  }
  std::vector<std::pair<std::string, std::string>> others;
  for (const auto& one : units)
    if (!found.count(one.first)) others.push_back(one);
  if (without.empty() || others.empty()) return found;
  const auto keys = keys_of(labels);
  const auto channels = recognize(labels);
  for (const auto i : without) {
    const auto use = unused(channels[i], labels[i]);
    for (const auto& [name, unit] : others)
      if (names_channel({name}, use, labels[i], keys)) {
        found.emplace(labels[i], unit);
        break;
      }
  }
  return found;
}

std::vector<ChannelUse> choose_channels(const std::vector<SignalHead>& signals, const ChannelChoice& choice) {
  std::vector<std::string> labels;
  for (const auto& signal : signals) labels.push_back(signal.label);
  const auto channels = recognize(labels);
  const auto keys = keys_of(labels);
  std::vector<ChannelUse> uses;
  for (std::size_t i = 0; i < signals.size(); ++i) {
    ChannelUse use = unused(channels[i], labels[i]);
    if (!signals[i].readable) {
      use.why = "has no physical scale", use.told = false;
    } else if (names_channel(choice.exclude, use, labels[i], keys)) {
      use.why = "is excluded", use.told = false, use.by_choice = true;
    } else if (!choice.use.empty() && !names_channel(choice.use, use, labels[i], keys)) {
      use.why = "is not among the chosen channels", use.told = false, use.by_choice = true;
    } else if (choice.use.empty() && channels[i].kind == ChannelKind::kAuxiliary) {
      use.why = "is no EEG by its name", use.told = false;
    } else if (!microvolts(signals[i].unit)) {
      use.why = "has the unit " + quote(signals[i].unit) + ", which is no voltage (uV, mV, V, nV)";
      use.told = channels[i].kind == ChannelKind::kElectrode || channels[i].kind == ChannelKind::kDerivation;
    } else {
      use.used = true;
    }
    uses.push_back(std::move(use));
  }
  const double rate = common_rate(signals, uses);
  for (std::size_t i = 0; i < signals.size(); ++i)
    if (uses[i].used && signals[i].sfreq != rate) uses[i].used = false, uses[i].why = "has another sampling rate than most";
  return uses;
}

}  // namespace sslmed::eeg
