#pragma once
// Losses of times that may be censored.

#include <ATen/core/Tensor.h>

namespace sslmed::methods {

enum class Ties { kEfron, kBreslow };

// Minus the partial log-likelihood of Cox (1972) over the number of events: risk [B] (log hazard ratios), time [B], event
// [B] (1: seen, 0: censored). At each event's time everybody with that time or a later one is at risk. Ties by Efron (1977)
// or Breslow (1974). Zero, with a gradient of zero, where nobody had the event.
at::Tensor cox(const at::Tensor& risk, const at::Tensor& time, const at::Tensor& event, Ties ties);

}  // namespace sslmed::methods
